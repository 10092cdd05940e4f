"""The entrance: `streamlit run app.py` opens the dashboard."""

from pages.ui import shell

shell.enter()
