"""What tests of the pages without a browser share: a page is shown, pressed, read."""

from streamlit.testing.v1 import AppTest

from tlearn.web.i18n import texts_for

t = texts_for("en")


def page(name, address=(), **state):
    """Show a page as a browser would that was sent to it; needs the fixture ``here``."""
    app = AppTest.from_function(show_page, default_timeout=600)
    app.query_params.update(address)
    return follow(app, name, **state)


def show_page():
    import streamlit

    from tlearn.web.navigation import PAGES

    pages = {
        name: streamlit.Page(show, title=name, icon=mark, url_path=name, default=name == "data")
        for name, (show, mark) in PAGES.items()
    }
    streamlit.navigation(list(pages.values()), position="hidden")
    streamlit.session_state["pages"] = pages
    PAGES[streamlit.session_state["test.page"]][0]()


def follow(app, name, **state):
    """Show another page of the same session."""
    for key, value in {"test.page": name, **state}.items():
        app.session_state[key] = value
    return run(app)


def run(what):
    """Run a page, or that of an element that was changed."""
    app = what.run()
    assert not app.exception, app.exception[0].message
    return app


def words(app):
    """Return all text that is shown."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    return "\n".join(element.value for kind in kinds for element in getattr(app, kind))


def links(app):
    """Return what the links to other pages say, each with what it asks for there."""
    return [(link.proto.label, link.proto.query_string) for link in app.get("page_link")]


def labelled(elements, label):
    """Return the last element whose label begins so."""
    return [element for element in elements if element.label.startswith(label)][-1]


def press(app, key, **values):
    """Press a button by the key of its text."""
    return run(labelled(app.button, t(key, **values)).click())


def view(app, name):
    """Choose one of the views of a page."""
    (views,) = [group for group in app.button_group if group.key.endswith(".view")]
    return run(views.set_value(name))


def source(app, name):
    """Choose what a new data set comes from."""
    return run(app.button_group(key="new.source").set_value(name))


def comes(monkeypatch, **uploads):
    """Have the fields of a class give uploads, once each; say in which order they are asked."""
    for field in ("camera", "uploader"):
        coming = uploads.get(field, [])
        monkeypatch.setattr(
            f"tlearn.web.components.class_photos.{field}",
            lambda root, key, coming=coming, **kind: coming.pop() if coming else None,
        )
