"""Making a key pair at the command line."""

import json
import stat

from leaderboard import signing
from mlperf.__main__ import main
from mlperf.commands import keygen


def test_a_key_pair_is_made_once(tmp_path, capsys):
    path = tmp_path / "keys" / "mine.pem"
    assert main(["keygen", "--out", str(path)]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["public_key"] == signing.public_key(tmp_path / "keys" / "mine.pem.pub")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.text_of(signing.private_key(path).public_key()) == last["public_key"]
    before = path.read_bytes()
    assert main(["keygen", "--out", str(path)]) == 1
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_the_default_place_is_the_users_folder_for_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keygen.default_key() == tmp_path / "mlperf" / "verify.pem"
    assert main(["keygen"]) == 0
    assert keygen.default_key().is_file()
    assert stat.S_IMODE((tmp_path / "mlperf").stat().st_mode) == 0o700
