"""What Streamlit runs for every look at the page.

It is not beside ``pages/``: Streamlit takes a folder of that name beside its script for a list of
pages of its own.
"""

from tlearn.web.navigation import run

run()
