"""Several trainings at a time, each a process: what they leave is what one after another leaves."""

import json


def test_an_arm_in_a_process_of_its_own_is_the_same_to_the_bit(contrasift, tiny_run, tmp_path):
    tiny_run("a", "--against", "random")
    folder = tmp_path / "a"
    encoder = folder / "training" / "random-seed0" / "encoder.safetensors"
    judged = folder / "evaluation" / "random-seed0.json"
    before = encoder.read_bytes(), judged.read_bytes()
    for file in (encoder, judged, encoder.with_name("result.json")):
        file.unlink()
    result = tiny_run("a", "--against", "random", "--jobs", "2")
    assert (encoder.read_bytes(), judged.read_bytes()) == before
    assert "1 trainings" not in result.stderr
    stages = json.loads((folder / "stages.json").read_text())
    assert stages["train random-seed0"]["facts"]["side_by_side"] == 2
    assert "side_by_side" not in stages["train selected-seed0"]["facts"]


def test_the_whole_pool_is_trained_on_beside_what_chooses(tiny_run, tmp_path):
    tiny_run("a", "--against", "full", "--jobs", "2")
    tiny_run("b", "--against", "full")
    encoder = "training/full-seed0/encoder.safetensors"
    assert (tmp_path / "a" / encoder).read_bytes() == (tmp_path / "b" / encoder).read_bytes()
    stages = json.loads((tmp_path / "a" / "stages.json").read_text())
    assert stages["proxy"]["facts"]["side_by_side"] == 2
    assert (
        "side_by_side"
        not in json.loads((tmp_path / "b" / "stages.json").read_text())["proxy"]["facts"]
    )
