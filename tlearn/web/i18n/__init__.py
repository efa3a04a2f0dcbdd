"""What the pages say, one YAML file per language, and what errors of the core say in Chinese."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "zh")
FILES = re.compile(r" \(('.*?': .*)\)", re.DOTALL)  # files, each with what is wrong with it


class Texts:
    """The words of one language; calling it with a key gives a text.

    Attributes:
        language: ``en`` or ``zh``.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.words = flat(language)

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with values filled in, such as ``t("data.counts", classes=3)``."""
        return self.words[key].format(**values) if values else self.words[key]

    def option(self, key: str, help: str) -> tuple[str, str]:
        """Return the name and the help of an option, such as ``head.dropout``; English is given."""
        english, chinese, chinese_help = _options()[key]
        return (chinese, chinese_help) if self.language == "zh" else (english, help)

    def message(self, text: str) -> str:
        """Return an error or a reason in this language; as it is where there is no translation."""
        if self.language == "zh":
            if files := FILES.fullmatch(text):
                parts = (part.partition("': ") for part in re.split("; (?=')", files[1]))
                listed = (f"{name}': {self.message(reason)}" for name, _, reason in parts)
                return f" ({'; '.join(listed)})"
            for pattern, chinese in _errors():
                if found := pattern.fullmatch(text):
                    return chinese.format(*map(self.message, found.groups()))
        return text


@cache
def flat(language: str) -> dict[str, str]:
    """Return all texts of a language, by dotted keys."""
    nested = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    return {
        f"{page}.{key}": text.strip()
        for page, texts in nested.items()
        for key, text in texts.items()
    }


@cache
def _options() -> dict[str, tuple[str, str, str]]:
    options: dict[str, tuple[str, str, str]] = yaml.safe_load(
        (FOLDER / "options.yaml").read_text(encoding="utf-8")
    )
    return options


@cache
def error_texts() -> dict[str, str]:
    """Return errors and reasons in Chinese, by their English text with ``{}`` for each value."""
    texts: dict[str, str] = yaml.safe_load((FOLDER / "errors.yaml").read_text(encoding="utf-8"))
    return texts


@cache
def _errors() -> list[tuple[re.Pattern[str], str]]:
    """Return the table with patterns, those with the most words of their own first."""
    table = sorted(error_texts().items(), key=lambda item: -len(item[0].replace("{}", "")))
    return [
        (re.compile("(.*?)".join(map(re.escape, english.split("{}"))), re.DOTALL), chinese)
        for english, chinese in table
    ]


@cache
def texts_for(locale: str | None) -> Texts:
    """Return the texts for a browser's language, such as ``zh-CN``; English for those we lack."""
    language = (locale or "").lower().replace("_", "-").split("-")[0]
    return Texts(language if language in LANGUAGES else "en")
