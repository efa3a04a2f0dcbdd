"""What Streamlit runs for every look at the page."""

from tlearn.app.main import run

run()
