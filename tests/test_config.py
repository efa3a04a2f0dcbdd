"""The configuration itself: every way to state it, and every refusal with its dotted place."""

import pytest
import yaml

from tlearn.backbones import load_registry
from tlearn.config import AUGMENTATIONS, Augmentation, Head, RunConfig, Stage
from tlearn.config_schema import fields_of
from tlearn.errors import ConfigError
from tlearn.settings import make_config

RECIPE = """
backbone: inception_v3
head: {taps: top, hidden: [1024]}
stages:
  - {unfreeze: none, epochs: 10, optimizer: rmsprop}
  - {unfreeze: mixed8, optimizer: {name: sgd, momentum: 0.9}, learning_rate: 1e-4}
"""


@pytest.fixture
def from_yaml(tmp_path):
    """Make a configuration from YAML text."""

    def make(text, settings=None, options=None):
        file = tmp_path / "c.yaml"
        file.write_text(text, encoding="utf-8")
        return make_config(file, settings, options)

    return make


@pytest.mark.parametrize(
    ("file", "settings", "options", "expected"),
    [
        ("", {}, {}, 0),
        ("seed: 1", {}, {}, 1),
        ("seed: 1", {"seed": "2"}, {}, 2),
        ("seed: 1", {"seed": "2"}, {"seed": 3}, 3),
        ("seed: 1", {}, {"seed": None}, 1),
        ("seed: 1", {"seed": "2"}, {"seed": None}, 2),
        ("seed: 1", {}, {"seed": 0}, 0),
        ("\ufeffseed: 1", {}, {}, 1),
    ],
)
def test_what_comes_later_wins(from_yaml, file, settings, options, expected):
    assert from_yaml(file, settings, options).seed == expected


def test_a_setting_changes_one_key_and_leaves_its_neighbours(from_yaml):
    config = from_yaml(
        "head: {dropout: 0.5, taps: top}\naugment: {crop: 0.5}",
        {"head.dropout": "0.1", "head.hidden": "[64, 32]", "augment.flip": "no"},
    )
    assert config.head == Head(dropout=0.1, taps="top", hidden=(64, 32))
    assert config.augment == Augmentation(crop=0.5, flip=False)


def test_options_replace_stages_as_a_whole(from_yaml):
    config = from_yaml("stages: [{unfreeze: 1}, {unfreeze: 2}]", {}, {"stages": "3"})
    assert config.stages == (Stage(unfreeze=3),)


def test_an_option_off_is_not_an_option_absent(from_yaml):
    assert from_yaml("strict: yes", {}, {"strict": None}).strict
    assert not from_yaml("strict: yes", {}, {"strict": False}).strict


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", "1.0e-4", "0.0001", ".1e-3", "'1e-4'"])
def test_numbers_as_people_write_them(from_yaml, text):
    (stage,) = from_yaml(f"stages: [{{unfreeze: 1, learning_rate: {text}}}]").stages
    assert stage.learning_rate == 1e-4
    assert make_config(settings={"head.dropout": text}).head.dropout == 1e-4


@pytest.mark.parametrize("text", ["e-4", "1e", "block1e", "1e-4x"])
def test_words_that_look_a_little_like_numbers_stay_words(from_yaml, text):
    assert from_yaml(f"stages: [{{unfreeze: {text}}}]").stages[0].unfreeze == text


@pytest.mark.parametrize(
    ("text", "unfreeze", "title"),
    [
        ("none", "none", "head"),
        ("null", "none", "head"),
        ("~", "none", "head"),
        ("", "none", "head"),
        ("0", 0, "head"),
        ("1", 1, "top 1 block"),
        ("3", 3, "top 3 blocks"),
        ("'3'", 3, "top 3 blocks"),
        ("all", "all", "all blocks"),
        ("mixed8", "mixed8", "from mixed8"),
        ("mixed8, name: upper", "mixed8", "upper"),
    ],
)
def test_what_a_stage_unfreezes(from_yaml, text, unfreeze, title):
    (stage,) = from_yaml(f"stages: [{{unfreeze: {text}}}]").stages
    assert (stage.unfreeze, stage.title) == (unfreeze, title)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("", None),
        ("weights: null", None),
        ("weights:", None),
        ("weights: none", "none"),
        ("weights: imagenet", "imagenet"),
        ("weights: a/b.weights.h5", "a/b.weights.h5"),
    ],
)
def test_no_weights_are_the_word_none_and_null_is_the_default(from_yaml, text, weights):
    assert from_yaml(text).weights == weights


def test_the_textbook_recipe_is_a_few_lines(from_yaml):
    config = from_yaml(RECIPE)
    frozen, top = config.stages
    assert config.head.hidden == (1024,) and frozen.unfreeze == "none"
    assert (top.unfreeze, top.learning_rate) == ("mixed8", 1e-4)
    assert (top.optimizer.name, top.optimizer.arguments) == ("sgd", {"momentum": 0.9})
    boundaries = load_registry().get(config.backbone).blocks.boundaries
    assert top.unfreeze in [boundary.layer for boundary in boundaries]


def test_a_runs_record_is_a_configuration(from_yaml):
    config = from_yaml(RECIPE)
    record = {"config": config.model_dump(mode="json"), "data": {"path": "x"}, "versions": {}}
    assert from_yaml(yaml.safe_dump(record)) == config
    with pytest.raises(ConfigError, match="unknown configuration key 'config'"):
        from_yaml(yaml.safe_dump({**record, "backbone": "vgg19"}))


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("none", []),
        (" None ", []),
        ("3", [{"unfreeze": 3}]),
        ("3:8", [{"unfreeze": 3, "epochs": 8}]),
        ("3@1e-4", [{"unfreeze": 3, "learning_rate": 1e-4}]),
        ("3:8@.5", [{"unfreeze": 3, "epochs": 8, "learning_rate": 0.5}]),
        (
            "3:8@1e-4, all@2",
            [
                {"unfreeze": 3, "epochs": 8, "learning_rate": 1e-4},
                {"unfreeze": "all", "learning_rate": 2.0},
            ],
        ),
        (
            "none:5,block_3-x/y.z",
            [{"unfreeze": "none", "epochs": 5}, {"unfreeze": "block_3-x/y.z"}],
        ),
    ],
)
def test_stages_in_short_form_as_option_and_in_yaml(from_yaml, text, stages):
    expected = tuple(Stage(**stage) for stage in stages)
    assert make_config(options={"stages": text}).stages == expected
    assert from_yaml(f"stages: {text}").stages == expected
    assert make_config(settings={"stages": text}).stages == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "3,",
        ":5",
        "@1e-4",
        "3:",
        "3@",
        "3:x",
        "3:1.5",
        "3@x",
        "3@nan",
        "3@inf",
        "3@-1",
        "3:8:9",
        "3@1@2",
        "3@1e-4:8",
        "3 4",
        "[1]",
    ],
)
def test_wrong_short_stages_are_shown_the_form(text):
    with pytest.raises(ConfigError) as caught:
        make_config(options={"stages": text})
    assert str(caught.value).startswith("stages: takes UNFREEZE[:EPOCHS][@RATE], separated by")
    assert str(caught.value).endswith(f"Received: {text!r}") and caught.value.key == "stages"


@pytest.mark.parametrize(
    ("text", "place", "nearest"),
    [
        ("bakbone: toy", "bakbone", "backbone"),
        ("Backbone: toy", "Backbone", "backbone"),
        ("head: {dropot: 0.1}", "head.dropot", "dropout"),
        ("augment: {color: 0.1}", "augment.color", "colour"),
        ("stages: [{unfreeze: 1}, {unfreeze: 2, epoch: 3}]", "stages.1.epoch", "epochs"),
        ("stages: [{unfreez: 1}]", "stages.0.unfreez", "unfreeze"),
        ("qqqq: 1", "qqqq", None),
        ("int: 1", "int", None),
        ("'head[0]': 1", "head[0]", "head"),
        ("1: 2", "1", None),
        ("head: {77: 2}", "head.77", None),
    ],
)
def test_unknown_keys_are_refused_and_the_nearest_is_named(from_yaml, text, place, nearest):
    with pytest.raises(ConfigError) as caught:
        from_yaml(text)
    message = str(caught.value)
    hint = f" (did you mean {nearest!r}?)" if nearest else ""
    sections = {"head.": Head, "augme": Augmentation, "stage": Stage}
    known = ", ".join(sorted(sections.get(place[:5], RunConfig).model_fields))
    assert message.startswith(f"unknown configuration key {place!r}{hint}; known are {known}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: -1", "seed: must be at least 0. Received: -1"),
        ("val: 1.5", "val: must be less than 1. Received: 1.5"),
        ("val: .nan", "val: must be a finite number. Received: nan"),
        ("resize: crush", "resize: must be 'crop', 'squash' or 'pad'. Received: 'crush'"),
        ("views: 0", "views: must be at least 1 or must be 'fresh'. Received: 0"),
        ("views: on", "views: is a YAML boolean; quote it if you meant text. Received: True"),
        ("head: 3", "head: must hold keys and values. Received: 3"),
        ("head: {hidden: 1024}", "head.hidden: must be a list in square brackets. Received: 1024"),
        (
            "head: {hidden: [8, 0]}",
            "head.hidden.1: must be at least 1. Received: 0",
        ),
        (
            "stages: {unfreeze: 1}",
            "stages: must be a list in square brackets. Received: {'unfreeze': 1}",
        ),
        ("stages: [1]", "stages.0: must hold keys and values. Received: 1"),
        (
            "stages: [{unfreeze: 1, epochs: 0}]",
            "stages.0.epochs: must be at least 1. Received: 0",
        ),
        (
            "stages: [{unfreeze: 1, learning_rate: .inf}]",
            "stages.0.learning_rate: must be a finite number. Received: inf",
        ),
        (
            "stages: [{unfreeze: -1}]",
            "stages.0.unfreeze: must be 0 or more blocks, 'all', 'none' "
            "or a layer name. Received: -1",
        ),
        (
            "stages: [{unfreeze: yes}]",
            "stages.0.unfreeze: is a YAML boolean; quote it if you meant text. Received: True",
        ),
        ("stages: [{epochs: 3}]", "stages.0.unfreeze: field required. Received: {'epochs': 3}"),
        ("seed: -1\nval: 7\nviews: 0", "(and 2 more)"),
        (
            "val: 0.5\ntest: 0.5",
            "val and test leave nothing to train on: 0.5 + 0.5; their sum must be under 1",
        ),
    ],
)
def test_values_that_cannot_be_name_their_place(from_yaml, text, message):
    with pytest.raises(ConfigError) as caught:
        from_yaml(text)
    assert str(caught.value).endswith(message)
    assert message.startswith("(") or str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nhead: {dropout: [\n", "line 3, column 1: expected the node content"),
        ("seed: 1\n\tval: 1", "line 2, column 1: found character"),
        ("seed: 1\nval: \x07", "line 2: unacceptable character"),
        ("seed: 1\nseed: 2", "line 2, column 1: the key 'seed' is given twice"),
        ("head: {taps: top, taps: auto}", "line 1, column 19: the key 'taps' is given twice"),
        ("seed: !!python/object:os.system {}", "line 1, column 7: could not determine"),
        ("seed: 1\n---\nseed: 2", "line 2, column 1: "),
        ("[" * 5000, "recursion"),
    ],
)
def test_broken_yaml_names_the_line(from_yaml, text, words):
    with pytest.raises(ConfigError, match=r"^broken YAML in .*c\.yaml") as caught:
        from_yaml(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "kind"), [("- a", "list"), ("hello", "str"), ("3", "int")])
def test_yaml_that_is_no_mapping(from_yaml, text, kind):
    with pytest.raises(ConfigError, match=f"keys and values such as .*Received: a {kind}$"):
        from_yaml(text)


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("head.dropout", "[", r"^broken YAML in --set head\.dropout=\[, line 1"),
        ("seed.x", "1", r"^seed: must be a whole number. Received: \{'x': 1\}"),
        ("head.dropout.x", "1", r"^head\.dropout: must be"),
        ("head..x", "1", r"^unknown configuration key 'head\.'"),
        ("stages.0.epochs", "3", r"^stages: must be a list in square brackets\. Received"),
    ],
)
def test_wrong_settings(key, text, words):
    with pytest.raises(ConfigError, match=words):
        make_config(settings={key: text})


def test_a_setting_below_a_value_says_so(from_yaml):
    with pytest.raises(ConfigError, match=r"--set seed\.x: 'seed' is not a section; it is 3"):
        from_yaml("seed: 3", {"seed.x": "1"})


@pytest.mark.parametrize("content", [b"group: \xff", None])
def test_files_that_cannot_be_read(tmp_path, content):
    file = tmp_path / "c.yaml"
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.yaml' cannot be read: .*; give a YAML file") as e:
        make_config(file)
    assert ("not UTF-8" in str(e.value)) == bool(content)


@pytest.mark.parametrize("text", ["2024-13-45", "2024-01-02", "1:30", "0x10", "010", "1_000"])
def test_what_yaml_1_1_would_turn_into_something_else_stays_a_word(from_yaml, text):
    assert from_yaml(f"group: {text}").group == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "7"),
        ("size", "100000"),
        ("head.hidden", "[99999999]"),
        ("group", "("),
        ("views", "100000"),
        ("seed", "-1"),
        ("seed", "2147483648"),
        ("stages.0.batch_size", "stages: [{unfreeze: 1, batch_size: 99999}]"),
        ("stages.0.learning_rate", "stages: [{unfreeze: 1, learning_rate: 11}]"),
        ("stages.0.epochs", "stages: [{unfreeze: 1, epochs: 10001}]"),
    ],
)
def test_a_value_out_of_bounds_is_refused_and_the_error_knows_its_key(from_yaml, key, value):
    with pytest.raises(ConfigError) as caught:
        if key.startswith("stages"):
            from_yaml(value)
        else:
            make_config(settings={key: value})
    place = "head.hidden.0" if key == "head.hidden" else key
    assert str(caught.value).startswith(f"{place}: ") and caught.value.key == place


@pytest.mark.parametrize("model", [RunConfig, Head, Augmentation, Stage])
def test_every_key_is_described(model):
    assert all(field.help.endswith(".") for field in fields_of(model))


def test_sets_of_augmentation_have_names():
    for name, values in AUGMENTATIONS.items():
        config = make_config(settings={"augment": name})
        assert config.augment == Augmentation(**values)
    assert make_config(settings={"augment": "photo"}) == make_config()
    with pytest.raises(ConfigError, match="augment: must be one of none, light, photo, strong"):
        make_config(settings={"augment": "more"})
