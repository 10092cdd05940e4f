"""The entrance: `streamlit run app.py` opens the dashboard. It serves what pages/_entrance.py draws."""

import streamlit as st

from pages.ui import shell

app = st.App("pages/_entrance.py", lifespan=shell.serving)
