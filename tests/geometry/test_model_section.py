"""What `[model]` accepts, and the numbers that it resolves to, against the models as published."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simcore.geometry import sequence_bytes, state_bytes, token_bytes
from simcore.scenario.model import STATE, LayerGroup, Model, ModelSection
from simcore.scenario.presets import ABOUT, preset_names, read_preset

CONFIGS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("configs.json").read_text(encoding="utf-8"))
"""config.json files as they are on Hugging Face, less the keys that say nothing of the shape."""

# All parameters, and those that one token meets: tensors counted in the published checkpoints, model cards, papers.
PARAMETERS = {
    "tinyllama-1.1b": (1_100_048_384, None),
    "gpt2": (124_439_808, None),
    "gpt2-medium": (354_823_168, None),
    "gpt2-large": (774_030_080, None),
    "gpt2-xl": (1_557_611_200, None),
    "opt-13b": (12_853_473_280, None),
    "llama-2-7b": (6_738_415_616, None),
    "llama-2-13b": (13_015_864_320, None),
    "llama-2-70b": (68_976_648_192, None),
    "llama-3-8b": (8_030_261_248, None),
    "llama-3-70b": (70_553_706_496, None),
    "llama-3.1-8b": (8_030_261_248, None),
    "llama-3.1-70b": (70_553_706_496, None),
    "llama-3.2-1b": (1_235_814_400, None),
    "llama-3.2-3b": (3_212_749_824, None),
    "mistral-7b": (7_248_023_552, None),
    "mixtral-8x7b": (46_702_792_704, 12.9e9),
    "qwen2.5-7b": (7_615_616_512, None),
    "qwen2.5-72b": (72_706_203_648, None),
    "qwen3-8b": (8_190_735_360, None),
    "qwen3-32b": (32_762_123_264, None),
    "gemma-3-27b": (27_009_346_304, None),
    "gpt-oss-20b": (20_914_757_184, 3.61e9 + 201_088 * 2_880),  # the model card leaves the input embedding out
    "deepseek-v3": (671_026_419_200, 37.5e9),
    "mamba-2.8b": (2_768_345_600, None),
    "mamba2-2.7b": (2_702_599_680, None),
    "mamba-codestral-7b": (7_285_403_648, None),
    "jamba-v0.1": (51_570_323_328, 12.1e9),
    "bamba-9b": (9.78e9, None),
    "nemotron-h-8b": (8.1e9, None),
    "falcon-h1-7b": (7.59e9, None),
    "mistral-7b-v0.1": (7_241_732_096, None),
    "qwen3-30b-a3b": (30.5e9, 3.35e9),
    "falcon-7b": (6_921_720_704, None),
}

# Bytes that a token adds to the cache while no window is full, in the formats of the presets.
TOKEN_BYTES = {
    "tinyllama-1.1b": 22_528,
    "gpt2": 73_728,
    "gpt2-xl": 614_400,
    "opt-13b": 819_200,
    "llama-2-7b": 524_288,
    "llama-3-8b": 131_072,
    "llama-3-70b": 327_680,
    "llama-3.1-8b": 131_072,
    "llama-3.2-1b": 32_768,
    "llama-3.2-3b": 114_688,
    "mixtral-8x7b": 131_072,
    "qwen2.5-7b": 57_344,
    "qwen3-32b": 262_144,
    "gemma-3-27b": 507_904,
    "gpt-oss-20b": 49_152,
    "deepseek-v3": 70_272,
    "mamba-2.8b": 0,
    "jamba-v0.1": 16_384,
}

SMALL = {"layers": 2, "query_heads": 4, "head_dim": 64}


@pytest.fixture
def of_config(tmp_path: Path) -> Any:
    def resolve(config: Any) -> Model:
        path = tmp_path / "config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
        return ModelSection(config=path).resolve()

    return resolve


@pytest.mark.parametrize("name", preset_names("models"))
def test_preset_has_the_published_numbers(name: str) -> None:
    model = ModelSection(preset=name).resolve()
    parameters, active = PARAMETERS[name]
    assert model.parameters == parameters
    assert model.active_parameters == pytest.approx(active or parameters, rel=0.01)
    if name in TOKEN_BYTES:
        assert token_bytes(model) == TOKEN_BYTES[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_read_as_published(name: str, of_config: Any) -> None:
    model = of_config(CONFIGS[name])
    parameters, active = PARAMETERS[name]
    assert model.parameters == pytest.approx(parameters, rel=0.01)
    assert model.active_parameters == pytest.approx(active or parameters, rel=0.01)


@pytest.mark.parametrize("name", preset_names("models"))
def test_preset_and_config_agree(name: str, of_config: Any) -> None:
    preset, config = ModelSection(preset=name).resolve(), of_config(CONFIGS[name])
    counted = {"name", "parameters", "active_parameters", "weight_bytes"}
    assert {field: getattr(config, field) for field in Model.__slots__ if field not in counted} == {
        field: getattr(preset, field) for field in Model.__slots__ if field not in counted
    }
    assert config.weight_bytes == pytest.approx(preset.weight_bytes, rel=0.01)


@pytest.mark.parametrize("name", preset_names("models"))
def test_preset_file_is_complete(name: str) -> None:
    preset = read_preset("models", name)
    assert set(ABOUT) <= preset.keys()
    assert preset["source"].startswith("https://")
    ModelSection(**{key: value for key, value in preset.items() if key not in ABOUT})  # the numbers stand alone too


def test_parameters_are_counted_from_the_shape() -> None:
    shapes = ("tinyllama-1.1b", "gpt2-xl", "opt-13b", "llama-3-8b", "mixtral-8x7b", "qwen3-32b", "gemma-3-27b")
    for name in (*shapes, "gpt-oss-20b"):
        preset = read_preset("models", name)
        counted = {"parameters", "active_parameters", "weight_bytes"}
        model = ModelSection(**{k: v for k, v in preset.items() if k not in counted | set(ABOUT)}).resolve()
        parameters, active = PARAMETERS[name]
        assert model.parameters == pytest.approx(parameters, rel=0.01), name
        assert model.active_parameters == pytest.approx(active or parameters, rel=0.01), name


def test_numbers_win_over_the_preset() -> None:
    model = ModelSection(preset="llama-3-8b", dtype="float8", max_model_len=100).resolve()
    assert (model.dtype, model.kv_dtype, model.max_model_len) == ("float8", "float8", 100)
    assert model.parameters == 8_030_261_248
    assert model.weight_bytes == model.parameters


def test_a_preset_of_another_shape_is_counted_anew() -> None:
    # 8 layers of 218,103,808 and two tables of 525,336,576; not the preset's 8,030,261,248
    assert ModelSection(preset="llama-3-8b", layers=8).resolve().parameters == 2_795_503_616
    assert ModelSection(preset="llama-3-8b", layers=32).resolve().parameters == 8_030_261_248


def test_alias_becomes_the_canonical_name() -> None:
    assert ModelSection(preset="tinyllama").preset == "tinyllama-1.1b"
    assert ModelSection(preset="gpt2-small").preset == "gpt2"


def test_default_is_a_small_llama_unless_a_shape_is_given() -> None:
    assert ModelSection().preset == ModelSection(dtype="float32").preset == "tinyllama-1.1b"
    assert ModelSection(**SMALL).preset is None


def test_numbers_of_a_recorded_case_are_enough() -> None:
    """With these keys the scenarios of vLLM's recorded runs are written."""
    group = {"layers": 1, "window": 0}
    section = ModelSection(
        layers=1,
        query_heads=1,
        kv_heads=1,
        head_dim=64,
        dtype="float16",
        layer_groups=[group],  # type: ignore[arg-type]
    )
    model = section.resolve()
    assert token_bytes(model) == 256
    assert model.unsupported() is None
    assert model.parameters == 0  # not known


def test_section_reads_back_what_it_writes() -> None:
    for section in (ModelSection(preset="gemma-3-27b"), ModelSection(**SMALL), ModelSection(preset="gpt2", layers=3)):
        assert ModelSection.model_validate(section.model_dump(mode="json", exclude_none=True)) == section


def test_defaults_of_a_shape() -> None:
    model = ModelSection(layers=2, query_heads=8, hidden_size=512).resolve()
    assert (model.kv_heads, model.head_dim, model.dtype, model.kv_dtype) == (8, 64, "bfloat16", "bfloat16")
    assert model.layer_groups == (LayerGroup(layers=2),)


def test_all_presets_can_be_simulated() -> None:
    assert not [name for name in preset_names("models") if ModelSection(preset=name).resolve().unsupported()]
    nothing = ModelSection(layers=3, layer_groups=[{"layers": 3, "attention": False}]).resolve()  # type: ignore[arg-type]
    assert "nothing to simulate" in str(nothing.unsupported())


@pytest.mark.parametrize(
    ("layers", "size", "windows"),
    [
        ([(32, 0)], 32, (0,)),
        ([(32, 4096)], 32, (4096,)),
        ([(10, 0), (52, 1024)], 10, (0, *[1024] * 6)),  # Gemma 3 27B: two of the last table's places stay empty
        ([(12, 0), (12, 128)], 12, (0, 128)),  # gpt-oss
        ([(13, 0), (12, 128)], 13, (0, 128)),  # less than half as many again: padded
        ([(20, 0), (30, 128)], 20, (0, 128, 128)),
        ([(1, 8), (1, 0), (1, 8)], 1, (8, 0, 8)),
        ([(1, 8), (2, 0), (1, 8)], 2, (8, 0)),
        ([(1, 8), (1, 16)], 1, (8, 16)),
    ],
)
def test_layers_share_block_tables_as_in_vllm(
    layers: list[tuple[int, int]], size: int, windows: tuple[int, ...]
) -> None:
    groups = [{"layers": count, "window": window} for count, window in layers]
    model = ModelSection.model_validate({"query_heads": 4, "head_dim": 8, "layer_groups": groups}).resolve()
    assert (model.table_layers, model.windows) == (size, windows)


@pytest.mark.parametrize(
    ("name", "size", "windows"),
    [
        ("mamba-2.8b", 64, (STATE,)),
        ("mamba2-2.7b", 64, (STATE,)),
        ("jamba-v0.1", 4, (0, *[STATE] * 7)),
        ("bamba-9b", 3, (0, *[STATE] * 10)),
        ("nemotron-h-8b", 4, (0, *[STATE] * 6)),  # of 52 layers 24 have a state, and 24 keep nothing
        ("falcon-h1-7b", 44, (0, STATE)),  # each layer has both
    ],
)
def test_states_have_block_tables_too(name: str, size: int, windows: tuple[int, ...], of_config: Any) -> None:
    model = of_config(CONFIGS[name])
    assert (model.table_layers, model.windows) == (size, windows)


@pytest.mark.parametrize(
    ("group", "elements"),
    [
        ({"state_size": 16}, 128 * (16 + 3)),  # Mamba 1: expand 2, kernel 4
        ({"state_size": 16, "state_width": 100, "conv_kernel": 3}, 100 * (16 + 2)),
        ({"state_size": 128, "state_width": 256, "state_groups": 2}, 256 * 128 + (256 + 2 * 2 * 128) * 3),  # Mamba 2
    ],
)
def test_a_state_follows_from_its_shape(group: dict[str, Any], elements: int) -> None:
    layers = [{"layers": 3, "attention": False} | group]
    model = ModelSection.model_validate(
        {"hidden_size": 64, "layers": 3, "layer_groups": layers, "dtype": "float32"}
    ).resolve()
    assert (model.state_bytes, state_bytes(model)) == (4 * elements, 12 * elements)
    layers[0] |= {"state_bytes": 7, "state_width": 9}
    given = ModelSection.model_validate({"layers": 3, "layer_groups": layers}).resolve()
    assert given.state_bytes == 7


@pytest.mark.parametrize(
    ("name", "layers", "elements"),  # heads x width x state, and three inputs of the convolution, which has B and C too
    [
        ("mamba2-2.7b", 64, 80 * 64 * 128 + 3 * (5_120 + 2 * 128)),
        ("mamba-codestral-7b", 64, 128 * 64 * 128 + 3 * (8_192 + 2 * 8 * 128)),
        ("bamba-9b", 29, 128 * 64 * 128 + 3 * (8_192 + 2 * 128)),
        ("nemotron-h-8b", 24, 128 * 64 * 128 + 3 * (8_192 + 2 * 8 * 128)),
        ("falcon-h1-7b", 44, 24 * 128 * 256 + 3 * (3_072 + 2 * 256)),
    ],
)
def test_states_of_mamba_2(name: str, layers: int, elements: int, of_config: Any) -> None:
    model = of_config(CONFIGS[name] | {"torch_dtype": "bfloat16"})
    assert model.state_bytes == 2 * elements
    assert state_bytes(model) == 2 * layers * elements
    assert sequence_bytes(model, 9) - sequence_bytes(model, 8) == token_bytes(model)


def test_attention_layers_of_bamba_are_read(of_config: Any) -> None:
    """Its published file has no list of layers, only the places of those with attention."""
    bamba = CONFIGS["nemotron-h-8b"] | {
        "model_type": "bamba",
        "num_hidden_layers": 32,
        "attn_layer_indices": [9, 18, 27],
    }
    assert of_config(bamba).layers_by_kind == {0: 3, STATE: 29}
    with pytest.raises(ValidationError, match="attn_layer_indices must be a list of layers below 32"):
        of_config(bamba | {"attn_layer_indices": [40]})


def test_windows_and_states_bound_what_a_sequence_keeps() -> None:
    gemma = ModelSection(preset="gemma-3-27b").resolve()
    per_layer = 2 * 16 * 128 * 2
    assert sequence_bytes(gemma, 100_000) == per_layer * (10 * 100_000 + 52 * 1_024)
    assert sequence_bytes(gemma, 1_000) == per_layer * 62 * 1_000
    mamba = ModelSection(preset="mamba-2.8b").resolve()
    assert sequence_bytes(mamba, 1) == sequence_bytes(mamba, 100_000) == 64 * 5_120 * (16 + 3) * 2


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"preset": "llama-9"}, "llama-9"),
        ({"preset": "gpt2", "config": "x.json"}, "model.preset is given already"),
        ({"layers": 2}, "query_heads is missing"),
        ({"query_heads": 2, "head_dim": 64}, "layers is missing"),
        ({"layers": 2, "query_heads": 2}, "head_dim is missing"),
        (
            {"layers": 2, "layer_groups": [{"layers": 2, "attention": False, "state_size": 16}]},
            "hidden_size is missing",
        ),
        ({"preset": "gemma-3-27b", "layers": 4}, "62 layers, not 4"),
        (SMALL | {"kv_heads": 3}, "4 query heads cannot share 3 KV heads evenly"),
        (SMALL | {"experts": 4}, "from 1 to 4, not 0"),
        (SMALL | {"experts": 4, "experts_per_token": 5}, "from 1 to 4, not 5"),
        (SMALL | {"parameters": 5e9, "active_parameters": 6e9}, "5,000,000,000"),
        (SMALL | {"layer_groups": [{"layers": 1, "window": -1}]}, "greater than or equal to 0"),
        (SMALL | {"dtype": "float12"}, "bfloat16"),
        (SMALL | {"kvheads": 3}, "kvheads"),
    ],
)
def test_what_does_not_fit_is_refused(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        ModelSection.model_validate(section)
    assert says in str(error.value)


LLAMA = CONFIGS["llama-3-8b"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("", "must hold one JSON object"),
        ("[1, 2]", "must hold one JSON object"),
        ("[" * 100_000, "must hold one JSON object"),
        ('{"model_type": "llama"}', "hidden_size is missing"),
        ({**LLAMA, "num_attention_heads": None}, "num_attention_heads is missing"),
        ({**LLAMA, "num_hidden_layers": 0}, "num_hidden_layers must be a whole number from 1 to 100,000, not 0"),
        ({**LLAMA, "num_hidden_layers": True}, "not true"),
        ({**LLAMA, "hidden_size": 1e400}, "not Infinity"),
        ({**LLAMA, "vocab_size": "many"}, 'vocab_size must be a whole number from 1 to 16,777,216, not "many"'),
        (
            {**LLAMA, "torch_dtype": "int3"},
            'torch_dtype must be one of float16, bfloat16, float32, float64, not "int3"',
        ),
        ({**LLAMA, "num_key_value_heads": 5}, "32 query heads cannot share 5 KV heads evenly"),
        ({**LLAMA, "layer_types": ["full_attention"]}, "layer_types must have one entry for each of the 32 layers"),
        ({**LLAMA, "layer_types": ["linear_attention"] * 32}, 'not "linear_attention"'),
        ({**LLAMA, "layer_types": [["a"]] * 32}, 'not ["a"]'),
        ({**LLAMA, "quantization_config": {"quant_method": "hqq"}}, 'quantization "hqq" is not known'),
        ({**LLAMA, "quantization_config": 3}, "quantization 3 is not known"),
        ({**LLAMA, "quantization_config": {"quant_method": "awq"}}, "bits is missing"),
        ({**LLAMA, "is_encoder_decoder": True}, "an encoder and a decoder"),
        ({**LLAMA, "tie_word_embeddings": "yes"}, 'tie_word_embeddings must be true or false, not "yes"'),
        ({**CONFIGS["mixtral-8x7b"], "mlp_only_layers": 3}, "mlp_only_layers must be a list, not 3"),
        ({**CONFIGS["nemotron-h-8b"], "hybrid_override_pattern": "M" * 51 + "?"}, 'not "?"'),
    ],
)
def test_unusable_config_is_told_in_a_sentence(config: Any, says: str, of_config: Any) -> None:
    with pytest.raises(ValidationError) as error:
        of_config(config)
    message = str(error.value)
    assert says in message
    assert "config.json" in message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**40) | st.just(2**24) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(name=st.sampled_from(sorted(CONFIGS)), data=st.data())
def test_a_broken_config_is_never_a_crash(name: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    config = CONFIGS[name] | {
        key: data.draw(JSON) for key in data.draw(st.sets(st.sampled_from(sorted(CONFIGS[name])), max_size=3))
    }
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    problems = []
    try:
        ModelSection(config=path)
    except ValidationError as error:
        problems = error.errors()
    assert all(problem["type"] == "value_error" and "\n" not in problem["msg"] for problem in problems)  # our sentences


def test_missing_config_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(ValidationError, match="cannot be read"):
            ModelSection(config=path)


def test_unknown_architecture_is_read_by_the_usual_keys(of_config: Any) -> None:
    model = of_config({**LLAMA, "model_type": "brandnew", "rope_parameters": {"type": "x"}})
    assert token_bytes(model) == 131_072


def test_quantized_weights(of_config: Any) -> None:
    four_bits = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    # TheBloke/Llama-2-7B-AWQ: 3.89 GB; casperhansen/llama-3-8b-instruct-awq: 5.7 GB
    assert of_config({**CONFIGS["llama-2-7b"], "quantization_config": four_bits}).weight_bytes == pytest.approx(
        3.89e9, rel=0.02
    )
    assert of_config({**LLAMA, "quantization_config": four_bits}).weight_bytes == pytest.approx(5.7e9, rel=0.02)


def test_mamba_as_its_authors_published_it(of_config: Any) -> None:
    model = of_config({"d_model": 2560, "n_layer": 64, "vocab_size": 50277, "ssm_cfg": {}, "rms_norm": True})
    assert model.parameters == pytest.approx(2_768_345_600, rel=0.01)
    assert sequence_bytes(model, 10) == 64 * 5_120 * (16 + 3) * 4
    assert model.vocab_size == 50_280, "rounded up to a multiple of 8"
    second = {
        "d_model": 64,
        "n_layer": 2,
        "vocab_size": 100,
        "ssm_cfg": {"layer": "Mamba2", "headdim": 16, "d_state": 8},
    }
    assert sequence_bytes(of_config(second), 10) == 4 * 2 * (128 * 8 + 3 * (128 + 2 * 8))
    second["ssm_cfg"] |= {"expand": 4, "ngroups": 2, "d_conv": 3}
    assert sequence_bytes(of_config(second), 10) == 4 * 2 * (256 * 8 + 2 * (256 + 4 * 8))
    with pytest.raises(ValidationError, match="attn_layer_idx names layers with attention among Mamba's"):
        of_config(second | {"attn_layer_idx": [1]})
    with pytest.raises(ValidationError, match="ssm_cfg must be an object, not 7"):
        of_config(second | {"ssm_cfg": 7})
    with pytest.raises(ValidationError, match="state_size must be a whole number"):
        of_config(second | {"ssm_cfg": {"d_state": 0}})
