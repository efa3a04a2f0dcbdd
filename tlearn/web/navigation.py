"""The frame of all pages: navigation, language, login, and what is shown when a page fails."""

import json
from functools import cache
from string import Template

import streamlit as st
from PIL import Image, ImageDraw

from tlearn.web.access import has_openid
from tlearn.web.pages import data_page, plugins_page, predict_page, results_page, train_page
from tlearn.web.words import t, texts

PAGES = {
    "data": (data_page.show, ":material/photo_library:"),
    "train": (train_page.show, ":material/model_training:"),
    "results": (results_page.show, ":material/leaderboard:"),
    "predict": (predict_page.show, ":material/image_search:"),
    "plugins": (plugins_page.show, ":material/extension:"),
}
FIRST = "data"
COLOURS = {
    "light": {"background": "#ffffff", "accent": "#0b6e4f", "button": "#0b6e4f"},
    "dark": {"background": "#171713", "accent": "#5fd0a5", "button": "#208563"},
}
# Streamlit leaves a hand's breadth free at the top of a page.
# Its hint in fields, "Press Enter to apply", is in English alone, and hides what is typed.
# Its captions are too pale to read in the dark: less than 4.5 to 1.
# A list that is cut off shows a shadow where it goes on: the first two layers hide it at the ends.
STYLE = Template("""
.stMainBlockContainer { padding-top: 3.5rem; padding-bottom: 3rem; }
h1 { padding-top: 0 !important; }
[data-testid="InputInstructions"] { display: none; }
[data-testid="stCaptionContainer"] { opacity: 1; }
[data-testid="stCaptionContainer"] p { opacity: 0.8; color: inherit; }
.stButtonGroup button[aria-checked="true"] p, [data-testid="stSliderThumbValue"] { color: $accent; }
[data-testid="stVegaLiteChart"] { max-width: 100%; overflow-x: auto; }
.tlearn-steps {
  display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem;
  margin: 0 !important; padding: 0 !important;
  list-style: none; line-height: 1.45;
}
.tlearn-steps li {
  display: flex; gap: 0.75rem; margin: 0; padding: 0.75rem 1rem; border: 1px solid #8884;
  border-radius: 0.5rem;
}
.tlearn-steps .number {
  flex: none; width: 1.8em; height: 1.8em; line-height: 1.8em; border-radius: 50%;
  text-align: center; font-weight: 600; background: $accent; color: $background;
}
[class*="st-key-below-"] { flex-wrap: nowrap; justify-content: space-between; }
[class*="st-key-below-"] > :has([data-testid="stCheckbox"]) { flex: 1 1 0; min-width: 0; }
[class*="st-key-gallery-"] [data-testid="stCheckbox"] p {
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; display: block; max-width: 6.4rem;
  unicode-bidi: isolate;
}
[class*="st-key-gallery-"] p { unicode-bidi: plaintext; text-align: left; }
[class*="st-key-gallery-"] [data-testid="stCaptionContainer"] p {
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
  overflow-wrap: anywhere;
}
.st-key-differences table { display: table; table-layout: fixed; width: 100%; }
.st-key-differences :is(td, th) * { overflow-wrap: anywhere !important; }
[role="dialog"] [data-testid="stImage"] img { max-height: 68vh; object-fit: contain; }
[class*="st-key-go-"] .stElementContainer { margin: 0; }
[class*="st-key-go-"] a {
  min-height: 2.5rem; padding: 0.25rem 0.75rem; margin: 0; border: 1px solid #8885;
  border-radius: 0.5rem;
}
[class*="st-key-go-primary"] a, [class*="st-key-go-primary"] a:hover {
  background: $button; border-color: $button;
}
[class*="st-key-go-primary"] a:hover { filter: brightness(0.85); }
[class*="st-key-go-primary"] a * { color: #fff !important; }
.st-key-bottom_bar { display: none; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding-top: 0; padding-bottom: 6rem; }
  h1 { font-size: 1.6rem !important; }
  .tlearn-steps { grid-template-columns: 1fr; gap: 0; }
  .st-key-runs { max-height: 17rem; overflow-y: auto; background:
    linear-gradient($background 30%, transparent) top / 100% 2rem local,
    linear-gradient(transparent, $background 70%) bottom / 100% 2rem local,
    linear-gradient(#8885, transparent) top / 100% 0.5rem scroll,
    linear-gradient(transparent, #8885) bottom / 100% 0.5rem scroll;
    background-repeat: no-repeat; }
  .st-key-plugins thead { display: none; }
  .st-key-plugins tr { display: block; padding: 0.5rem 0; border-bottom: 1px solid #8884; }
  .st-key-plugins :is(table, tbody, td) { display: block; border: none; }
  .st-key-plugins td { padding: 0.1rem 0.75rem; overflow-wrap: anywhere; }
  .st-key-plugins td:first-child { font-weight: 600; }
  .tlearn-steps li { padding: 0.4rem 0; border: none; }
  [data-testid="stHeader"], [data-testid="stSidebar"] { display: none; }
  .st-key-bottom_bar {
    display: flex; position: fixed; bottom: 0; left: 0; width: 100%; z-index: 100; gap: 0;
    padding: 0.25rem 0 max(0.25rem, env(safe-area-inset-bottom)); flex-wrap: nowrap;
    background: $background; border-top: 1px solid #8884;
  }
  .st-key-bottom_bar > div { flex: 1 1 0; min-width: 0; }
  .st-key-bottom_bar a { flex-direction: column; gap: 0; padding: 0.25rem 0; width: 100%; }
  .st-key-bottom_bar a p { font-size: 0.75rem; }
}
""")

# Streamlit would have a visitor start its server with a command of its own. And what a page itself
# adds to its address, such as the run that it shows, would be a step that Back does not leave.
PAGE_SCRIPT = Template("""<script>
document.documentElement.lang = $language;
window.tlearnClosed = $closed;
window.tlearnObserver ??= new MutationObserver(() => {
  for (const title of document.querySelectorAll("[role=dialog] h2")) {
    if (title.textContent !== "Connection error") continue;
    title.textContent = window.tlearnClosed;
    title.style.cssText = "font-size: 1.1rem; margin-right: 2rem";
    title.nextElementSibling.style.display = "none";
  }
});
window.tlearnPush ??= history.pushState.bind(history);
history.pushState = (state, title, to) => {
  const { pathname, searchParams } = new URL(to, location);
  const added = pathname === location.pathname && !location.search;
  const own = [...searchParams.keys()].every((key) => ["data", "run", "photos"].includes(key));
  if (added && own) history.replaceState(state, title, to);
  else window.tlearnPush(state, title, to);
};
window.tlearnObserver.observe(document.body, { childList: true, subtree: true });
</script>""")


def run() -> None:
    """Show the page that is asked for."""
    st.set_page_config("tlearn", icon(), layout="wide", initial_sidebar_state="auto")
    dark = st.context.theme.type == "dark"
    st.html(f"<style>{STYLE.substitute(COLOURS['dark' if dark else 'light'])}</style>")
    language, closed = json.dumps(texts().language), json.dumps(t("common.closed"))
    script = PAGE_SCRIPT.substitute(language=language, closed=closed)
    st.html(script, unsafe_allow_javascript=True)
    st.logo(icon())
    if has_openid() and not st.user.is_logged_in:
        st.title("tlearn")
        st.button(t("login.button"), on_click=st.login, type="primary")
        return
    # The first page has the address of the server, and keeps the one that it is given for nothing.
    pages = [
        st.Page(
            show,
            title=t(f"{name}.title"),
            icon=mark,
            url_path="start" if name == FIRST else name,
            default=name == FIRST,
        )
        for name, (show, mark) in PAGES.items()
    ]
    st.session_state["pages"] = dict(zip(PAGES, pages, strict=True))
    named = st.Page(
        lambda: st.switch_page(pages[0], query_params=dict(st.query_params)),
        title=pages[0].title,
        url_path=FIRST,
        visibility="hidden",
    )
    page = st.navigation([*pages, named], position="top")
    st.set_page_config(f"{page.title} · tlearn", icon())
    if st.session_state.get("page") != page.url_path:  # a page knows that it was just opened
        st.session_state["page"] = page.url_path
        st.session_state["visit"] = st.session_state.get("visit", 0) + 1
        for key in st.query_params:  # what a link asks for, and not what was chosen before
            st.session_state.pop(f"chosen.{key}", None)
    # A phone has no room for words at the top, and hides them behind a mark. These links stand
    # first: at the end, those of before would be seen amid a page that is being shown.
    with st.container(horizontal=True, key="bottom_bar"):
        for one in pages:
            st.page_link(one)
    page.run()


@cache
def icon() -> Image.Image:
    """Return the picture of the browser's tab: Streamlit would fetch one of its own from afar."""
    image = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((2, 2, 61, 61), 14, fill="#0b6e4f")
    for k, height in enumerate((14, 24, 34)):
        draw.rounded_rectangle((14 + 13 * k, 50 - height, 23 + 13 * k, 50), 3, fill="white")
    return image
