"""The floor: a Streamlit page that redraws a number of constant Plotly figures, and nothing else."""

import os

import plotly.graph_objects as go
import streamlit as st

st.set_page_config(layout="wide")
value = st.slider("value", 0, 99, 50, key="value")
for number in range(int(os.environ["REFERENCE_FIGURES"])):
    figure = go.Figure(go.Scatter(y=[value, number, *range(20)])).update_layout(height=320)
    st.plotly_chart(figure, key=f"figure-{number}")
st.html(f'<span class="drawn" data-shown="{value}"></span>')
