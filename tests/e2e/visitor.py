"""A visitor without a browser: speaks Streamlit's own websocket protocol and keeps what a browser would keep."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

XSRF = "_streamlit_xsrf"
TYPES = {bool: "bool", float: "double", str: "string"}
VALUES: dict[str, Callable[[Any, bool], Any]] = {  # of each kind of control what the server sets, or its default
    "number_input": lambda control, is_set: control.value if is_set else control.default,
    "checkbox": lambda control, is_set: control.value if is_set else control.default,
    "text_input": lambda control, is_set: control.value if is_set else control.default,
    "selectbox": lambda control, is_set: control.raw_value if is_set else _chosen(control, [control.default])[0],
    "button_group": lambda control, is_set: list(control.raw_values) if is_set else _chosen(control, control.default),
}


@dataclass
class Visitor:
    """One session.

    `widgets`: ids by label; `states`: of every control, as it stands; `bound`: by id the parameter of the link that
    says what a control shows, and its default; `scope`: what it shows; `scopes`: of each so far the sparsity, and
    whether its answer is exact; `said`: alerts, `errors` those that are; `problems`: exceptions; `page`: its name in
    the address, "" for the first, `page_hash`: what the server calls it, once it has said so; `texts`: markdown and
    progress; `runs`: how often a page was complete; `said_of_work`: whether the present run has said how far a
    computation is, None before it began.
    """

    address: str
    socket: ClientConnection
    http: requests.Session
    query: str
    page: str = ""
    widgets: dict[str, str] = field(default_factory=dict)
    states: dict[str, WidgetState] = field(default_factory=dict)
    bound: dict[str, tuple[str, object]] = field(default_factory=dict)
    scope: dict[str, Any] = field(default_factory=dict)
    scopes: list[tuple[float, bool]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    runs: int = 0
    session: str = ""
    page_hash: str = ""
    said_of_work: bool | None = None
    last: list[str] = field(default_factory=list)
    _answers: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    _polling: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _kept: dict[str, ForwardMsg] = field(default_factory=dict)

    @classmethod
    async def opened(
        cls, address: str, query: str = "", page: str = "", http: requests.Session | None = None, at: str = ""
    ) -> tuple[Visitor, asyncio.Task[None]]:
        """A visitor that has just opened the page, and the task that listens for it. `http`: another tab's."""
        if http is None:
            http = requests.Session()
            http.headers.update({"X-Forwarded-For": at} if at else {})
            await asyncio.to_thread(http.get, f"{address}/_stcore/health", timeout=60)
        token = http.cookies.get(XSRF, "")
        http.headers["X-Xsrftoken"] = token
        socket = await connect(
            f"ws://{urlsplit(address).netloc}/_stcore/stream",
            subprotocols=["streamlit", token],  # type: ignore[list-item]
            additional_headers={"Cookie": f"{XSRF}={token}", "Origin": address}
            | ({"X-Forwarded-For": at} if at else {}),
            max_size=None,
        )
        visitor = cls(address, socket, http, query, page)
        listening = asyncio.create_task(visitor.listen())
        await visitor.rerun()
        return visitor, listening

    async def rerun(self, fragment: str = "") -> None:
        """Ask for the script, or one fragment of it, with the values of all controls."""
        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_name = "" if self.page_hash else self.page
        message.rerun_script.page_script_hash = self.page_hash
        message.rerun_script.fragment_id = fragment
        message.rerun_script.is_auto_rerun = bool(fragment)
        message.rerun_script.widget_states.widgets.extend(self.states.values())
        self.last.append(f"send {'fragment' if fragment else 'full'}")
        self.said_of_work = self.said_of_work if fragment else None
        with suppress(Exception):  # a closed socket is seen by `listen`
            await self.socket.send(message.SerializeToString())

    async def set(self, label: str, **value: Any) -> None:
        """Give the widget with this label a value, and ask for the script."""
        identity = self.widgets[label]
        self.states[identity] = WidgetState(id=identity, **value)
        self._say_in_link(identity, *value.values())
        await self.rerun()

    async def press(self, label: str) -> None:
        """Click the button with this label, and ask for the script."""
        identity = self.widgets[label]
        self.states[identity] = WidgetState(id=identity, trigger_value=True)
        await self.rerun()
        del self.states[identity]

    def answered(self, sparsity: float | None = None) -> bool:
        """Whether the scope shows an exact answer, at this sparsity if one is named."""
        exact = bool(self.scope) and self.scope["exact"] is not None
        return exact and sparsity in (None, self.scope["value"])

    async def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait until `true` holds. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.02)

    async def upload(self, label: str, name: str, content: bytes) -> None:
        """Choose a file in the file uploader with this label, and ask for the script."""
        message = BackMsg()
        request = message.file_urls_request
        request.request_id, request.session_id = name, self.session
        request.file_names.append(name)
        answer = self._answers[name] = asyncio.get_running_loop().create_future()
        await self.socket.send(message.SerializeToString())
        urls = (await answer).file_urls[0]
        put = await asyncio.to_thread(
            self.http.put, f"{self.address}{urls.upload_url}", files={"file": (name, content)}, timeout=60
        )
        put.raise_for_status()
        state = WidgetState(id=self.widgets[label])
        kept = state.file_uploader_state_value.uploaded_file_info.add()
        kept.name, kept.size, kept.file_id = name, len(content), urls.file_id
        kept.file_urls.CopyFrom(urls)
        self.states[state.id] = state
        await self.rerun()

    async def listen(self) -> None:
        """Take every message as a browser does, until the server or `leave` ends it."""
        async for data in self.socket:
            message = ForwardMsg()
            message.ParseFromString(data if isinstance(data, bytes) else data.encode())
            if message.WhichOneof("type") == "ref_hash":
                kept = self._kept[message.ref_hash]
                kept.metadata.CopyFrom(message.metadata)
                message = kept
            elif message.hash:
                self._kept[message.hash] = message
            self._take(message)

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind in ("script_finished", "auto_rerun", "stop_auto_rerun", "new_session"):
            self.last.append(f"{kind}:{message.script_finished if kind == 'script_finished' else ''}")
        self.runs += kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
        if kind == "new_session":
            self.said_of_work = bool(self.said_of_work)
            self.session = message.new_session.initialize.session_id
        elif kind == "delta" and message.delta.HasField("new_element"):
            self._element(message.delta.new_element)
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "navigation":
            self.page_hash = message.navigation.page_script_hash
        elif kind == "file_urls_response":
            self._answers.pop(message.file_urls_response.response_id).set_result(message.file_urls_response)
        elif kind == "auto_rerun":
            self._stop_polling([message.auto_rerun.fragment_id])
            self._polling[message.auto_rerun.fragment_id] = asyncio.create_task(self._poll(message.auto_rerun))
        elif kind == "stop_auto_rerun":
            self._stop_polling(list(message.stop_auto_rerun.fragment_ids))
        elif kind == "session_event" and message.session_event.WhichOneof("type") == "script_compilation_exception":
            self.problems.append("the script does not compile")

    def _element(self, element: Any) -> None:
        kind = element.WhichOneof("type")
        content = getattr(element, kind)
        if kind == "exception":
            self.problems.append(f"{content.type}: {content.message}")
        elif kind == "alert":
            self.said.append(content.body)
            self.errors += [content.body] if content.format == content.ERROR else []
        elif kind == "markdown":
            self.texts.append(content.body)
        elif kind == "progress":
            self.texts.append(content.text)
            if self.said_of_work is not None and content.text.endswith(("…", " left")):
                self.said_of_work = True
        elif kind in ("file_uploader", "button", *VALUES):
            self.widgets[content.label] = content.id
            self._stand(kind, content)
        elif kind == "bidi_component" and content.component_name == "reflow_scope":
            self.scope = json.loads(content.json)
            self.scopes.append((self.scope["value"], self.scope["exact"] is not None))

    def _stand(self, kind: str, control: Any) -> None:
        """Have a control at the server's value, where that sets one, else where it stands already, or at its default.

        A browser sends with each request where all of them stand.
        """
        if kind not in VALUES or (control.id in self.states and not control.set_value):
            return
        default = VALUES[kind](control, False)
        value = VALUES[kind](control, True) if control.set_value else default
        state = self.states[control.id] = WidgetState(id=control.id)
        if isinstance(value, list):
            state.string_array_value.data.extend(value)
        elif value is not None:
            setattr(state, f"{TYPES[type(value)]}_value", value)
        if control.query_param_key:
            self.bound[control.id] = control.query_param_key, default

    def _say_in_link(self, identity: str, value: object) -> None:
        """As a browser does by itself for a control that is bound to the link."""
        name, default = self.bound.get(identity, ("", None))
        if name:
            rest = {key: said for key, said in parse_qsl(self.query) if key != name}
            said = f"{value:.15g}" if isinstance(value, float) else str(value)
            self.query = urlencode(rest if value == default else rest | {name: said})

    async def _poll(self, wanted: Any) -> None:
        while True:
            await asyncio.sleep(wanted.interval)
            await self.rerun(wanted.fragment_id)

    def _stop_polling(self, fragments: Iterable[str]) -> None:
        for fragment in fragments:
            if (task := self._polling.pop(fragment, None)) is not None:
                task.cancel()

    async def leave(self) -> None:
        """Close the tab."""
        self._stop_polling(list(self._polling))
        await self.socket.close()
        self.http.close()


def _chosen(control: Any, numbers: Iterable[int]) -> list[str]:
    """The options of those numbers, as a browser sends them."""
    options = [getattr(option, "content", option) for option in control.options]
    return [options[number] for number in numbers]
