"""What Streamlit runs for every look at the page."""

from tlearn.web.navigation import run

run()
