"""A first run.yaml, for a site or none (RC-108, RC-109)."""

import json

import pytest

from launcher.cli import main
from launcher.sites.profiles import detect_site, own_directory, read_site, site_paths
from ptycho_dist.config.yaml_text import parse_yaml


def test_init_of_each_site_gives_a_config_that_plans(scan_file, tmp_path, capsys):
    """RC-108; the limits that a profile states never refuse its own defaults."""
    for name in site_paths():
        config = tmp_path / f"{name}.yaml"
        arguments = ["init", "--site", name, "-o", str(config), "--data", str(scan_file)]
        required = read_site(name).profile.rules.required
        if "account" in required:
            arguments += ["--account", "m1234"]
        assert main(arguments) == 0
        capsys.readouterr()
        assert main(["plan", str(config), "--json"]) == 0, name
        plan = json.loads(capsys.readouterr().out)
        assert (plan["site"] or {}).get("name") == name
        for section, fields in read_site(name).profile.defaults.items():
            for field in fields:
                assert plan["origins"][f"{section}.{field}"] == f"site {name}"


def test_the_required_account_is_asked_for_by_name(scan_file, tmp_path, capsys):
    """RC-104, RC-108: nothing made up stands in its place."""
    config = tmp_path / "run.yaml"
    assert main(["init", "--site", "andes", "-o", str(config), "--data", str(scan_file)]) == 0
    assert "set resources.account" in capsys.readouterr().out
    assert main(["validate", str(config)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {config}: resources.account: missing, but site andes requires it"
    ]


def test_init_replaces_nothing_unasked(tmp_path, capsys):
    """RC-108."""
    config = tmp_path / "run.yaml"
    config.write_text("mine")
    assert main(["init", "-o", str(config)]) == 2
    assert "--force" in capsys.readouterr().err
    assert config.read_text() == "mine"
    assert main(["init", "-o", str(config), "--force"]) == 0
    assert "name: first-run" in config.read_text()
    assert main(["init", "-o", str(tmp_path / "no/such/run.yaml")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("path", ['a "b" c.npz', "a\n#SBATCH --exclusive", "ünï: {x}.npz"])
def test_any_file_name_survives_init(tmp_path, path):
    config = tmp_path / "run.yaml"
    assert main(["init", "-o", str(config), "--data", path, "--account", "a: b"]) == 0
    data = parse_yaml(config.read_text(), "run.yaml")
    assert data["data"]["train_data_file"] == path
    assert data["resources"]["account"] == "a: b"


def test_a_site_is_guessed_by_its_own_variable_alone(tmp_path, monkeypatch, capsys):
    """RC-109."""
    assert detect_site({"NERSC_HOST": "perlmutter"}) == ("perlmutter", "NERSC_HOST=perlmutter")
    assert detect_site({"NERSC_HOST": "datatran", "HOME": "/perlmutter"}) is None
    monkeypatch.setenv("NERSC_HOST", "perlmutter")
    assert main(["init", "-o", str(tmp_path / "run.yaml")]) == 0
    assert "for site perlmutter (guessed: NERSC_HOST=perlmutter)" in capsys.readouterr().out
    own_directory().mkdir(parents=True)
    (own_directory() / "ours.yaml").write_text("title: x\ndetect: {NERSC_HOST: perlmutter}")
    assert detect_site({"NERSC_HOST": "perlmutter"}) is None, "two profiles claim this machine"
