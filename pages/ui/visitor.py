"""Who asks, as far as turns go: an address, and within it a browser.

The address is that of the connection. A proxy on this machine says the client's in X-Forwarded-For, which the web
server believes of the loopback only; for a proxy elsewhere whoever runs the server names it in FORWARDED_ALLOW_IPS. So
nobody gets more turns by a made-up header, nor by many sessions: they share one address, in IPv6 one /64. Where no
address is known, as without a proxy on this machine, every browser is a visitor of its own.

A browser is known by the cookie that the web server gives it, which its tabs share; without one each session counts.
"""

from __future__ import annotations

import ipaddress

import streamlit as st

from pages.ui.session import session
from reflow_core.lab.turns import Visitor

COOKIE = "_streamlit_xsrf"  # "2|mask|token XOR mask|time": the mask is another at every load, the token is not
HOMES = 64  # bits of an IPv6 address that a household or a server has for itself


def visitor() -> Visitor:
    """This session's (address, browser)."""
    return network_of(st.context.ip_address), browser_of(st.context.cookies.get(COOKIE, "")) or session().number


def network_of(address: str | None) -> str | None:
    """What counts as one address; None where none is known."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped or ipaddress.ip_network((int(parsed), HOMES), strict=False))


def browser_of(cookie: str) -> str:
    """The token in the cookie, "" without one."""
    try:
        _, mask, token, _ = cookie.strip("\"'").split("|")
        masks, masked = bytes.fromhex(mask), bytes.fromhex(token)[:64]
        return bytes(byte ^ masks[place % len(masks)] for place, byte in enumerate(masked)).hex()
    except (ValueError, ZeroDivisionError):
        return ""
