"""Records of verification: signed, proved on reading, believed only with a key that is known here."""

import json
import os

import pytest

import leaderboard
from leaderboard import StoreError, signing, verification
from leaderboard.measured import Env
from leaderboard.verification import Check, Replay, load_all, read, sign, write

HASH = "0123456789ab" + "c" * 52


@pytest.fixture
def key(tmp_path):
    signing.generate(tmp_path / "keys" / "key.pem")
    return signing.private_key(tmp_path / "keys" / "key.pem")


@pytest.fixture
def replay():
    def make(*failed, **changes):
        checks = [Check(code="LABELS_MISMATCH", passed=True, measured=0, required="<= 1 of 360")]
        checks += [Check(code=code, passed=False, measured="5.1x", required="4.0x") for code in failed]
        content = {
            "submission_id": HASH[:12], "content_sha256": HASH, "verifier": "grace",
            "created_utc": "2025-03-01T12:00:00Z", "machine": Env(os="Linux"),
            "secret_seed_sha256": "e" * 64, "sandboxed": True, "checks": checks,
            "ratio": 4.0, "ratio_lo": 3.9, "ratio_hi": 4.1, "result": "FAIL" if failed else "PASS",
        }  # fmt: skip
        return Replay.model_validate(content | changes)

    return make


def test_a_signed_record_is_read_again(tmp_path, key, replay):
    path = write(sign(replay("RATIO_MISMATCH"), key), tmp_path)
    assert path == tmp_path / "verifications" / f"{HASH[:12]}.grace.json"
    loaded = load_all(tmp_path)
    assert loaded.problems == ()
    ((record,),) = loaded.records.values()
    assert (record.result, record.failed, record.is_genuine) == ("FAIL", ("RATIO_MISMATCH",), True)
    assert loaded.records[HASH[:12]][0].public_key == signing.public_key(tmp_path / "keys" / "key.pem.pub")


def test_whoever_has_only_the_public_key_can_check_it_with_other_tools(tmp_path, key, replay):
    """Canonical JSON without the signature, in any JSON library that sorts keys."""
    content = json.loads(write(sign(replay(), key), tmp_path).read_text())
    signature = bytes.fromhex(content.pop("signature"))
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key.public_key().verify(signature, text.encode())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ratio": 40.0}, "the signature does not fit: it was changed after it was signed"),
        ({"verifier": "ada"}, "the signature does not fit"),
        ({"signature": "ab" * 64}, "the signature does not fit"),
        ({"result": "FAIL"}, "result is FAIL, but the failed checks are none"),
        ({"content_sha256": "f" * 64}, "submission_id 0123456789ab is not cut from content_sha256 ffff"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_an_edited_record_is_not_believed(tmp_path, key, replay, change, words):
    path = write(sign(replay(), key), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        read(path)
    loaded = load_all(tmp_path)
    assert loaded.records == {}
    assert [problem.code for problem in loaded.problems] == ["VERIFICATION", "LEDGER"]
    assert words in loaded.problems[0].reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"signature": NaN}', b"[" * 100_000])
def test_what_is_no_record_is_listed(tmp_path, content):
    folder = tmp_path / "verifications"
    folder.mkdir()
    (folder / f"{HASH[:12]}.grace.json").write_bytes(content)
    (problem,) = load_all(tmp_path).problems
    assert problem.path == f"verifications/{HASH[:12]}.grace.json"


def test_a_name_that_says_something_else_is_listed(tmp_path, key, replay):
    path = write(sign(replay(), key), tmp_path)
    path.rename(path.with_name(f"{'d' * 12}.grace.json"))
    (path.parent / "notes.json").write_text("{}")
    reasons = {problem.path: problem.reason for problem in load_all(tmp_path).problems}
    assert "which its name does not say" in reasons[f"verifications/{'d' * 12}.grace.json"]
    assert reasons["verifications/notes.json"] == "a record is called <submission id>.<verifier>.json"


def test_a_copied_record_is_believed_once_its_key_is_known(tmp_path, key, replay):
    """Or whoever makes a key pair could declare their own submission verified."""
    path, here = write(sign(replay(), key), tmp_path / "theirs"), tmp_path / "here" / "verifications"
    here.mkdir(parents=True)
    (here / path.name).write_bytes(path.read_bytes())
    assert load_all(tmp_path / "here").records == {}
    (problem,) = load_all(tmp_path / "here").problems
    assert "signed by a key that is not known here; if you trust it, put it there" in problem.reason
    (here / "grace.pub").write_bytes(path.with_name("grace.pub").read_bytes())
    assert load_all(tmp_path / "here").problems == ()
    assert list(load_all(tmp_path / "here").records) == [HASH[:12]]


def test_nobody_signs_in_the_name_of_another(tmp_path, key, replay):
    write(sign(replay(), key), tmp_path)
    signing.generate(tmp_path / "other.pem")
    forged = sign(replay(ratio=9.0), signing.private_key(tmp_path / "other.pem"))
    with pytest.raises(StoreError, match=r"grace\.pub is another key than the one that signed.*--verifier NAME"):
        write(forged, tmp_path)
    (tmp_path / "verifications" / forged.file_name).write_text(forged.model_dump_json())
    assert load_all(tmp_path).records == {}
    assert any("but grace.pub is" in problem.reason for problem in load_all(tmp_path).problems)


def test_several_verifiers_and_a_second_look(tmp_path, key, replay):
    write(sign(replay("RATIO_MISMATCH"), key), tmp_path)
    write(sign(replay(verifier="ada"), key), tmp_path)
    write(sign(replay(), key), tmp_path)
    loaded = load_all(tmp_path)
    assert loaded.problems == ()
    assert [(one.verifier, one.result) for one in loaded.records[HASH[:12]]] == [("ada", "PASS"), ("grace", "PASS")]
    assert (tmp_path / "verifications" / "ledger.jsonl").read_text().count("\n") == 3


def test_records_are_no_submissions_but_somebody_may_be_called_like_their_folder(tmp_path, key, replay, honest):
    write(sign(replay(), key), tmp_path)
    submitter = honest.submitter.model_copy(update={"id": "verifications"})
    submission = leaderboard.finalise(honest.model_copy(update={"submitter": submitter}))
    leaderboard.write(submission, tmp_path)
    assert leaderboard.load_all(tmp_path) == ((submission,), ())
    assert load_all(tmp_path).problems == ()


def test_a_directory_without_verifications_has_none(tmp_path):
    assert load_all(tmp_path) == load_all(tmp_path / "missing") == verification.Verified({}, ())


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_private_key_is_for_its_owner_alone(tmp_path):
    public = signing.generate(tmp_path / "new" / "key.pem")
    assert os.stat(tmp_path / "new" / "key.pem").st_mode & 0o777 == 0o600
    assert signing.public_key(tmp_path / "new" / "key.pem.pub") == public
    (tmp_path / "new" / "key.pem").chmod(0o640)
    with pytest.raises(signing.KeyProblem, match=r"others may use it \(mode 0640\).*keygen --out FILE.*chmod"):
        signing.private_key(tmp_path / "new" / "key.pem")


@pytest.mark.parametrize("taken", ["key.pem", "key.pem.pub"])
def test_no_key_is_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(signing.KeyProblem, match=f"{taken} exists and is not overwritten"):
        signing.generate(tmp_path / "key.pem")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def test_what_is_no_key_is_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    path = tmp_path / "key.pem"
    with pytest.raises(signing.KeyProblem, match=r"no such file; `python -m mlperf keygen` makes a pair"):
        signing.private_key(path)
    path.touch(mode=0o600)
    with pytest.raises(signing.KeyProblem, match="cannot be read"):
        signing.private_key(path)
    with pytest.raises(signing.KeyProblem, match="cannot be read"):
        signing.public_key(path)
    other = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(other)
    with pytest.raises(signing.KeyProblem, match="X25519PrivateKey, an ed25519 key is needed"):
        signing.private_key(path)
    with pytest.raises(signing.KeyProblem, match="this is a private key; never hand it on"):
        signing.public_key(path)
    path.write_bytes(b"-" * 20_000)
    with pytest.raises(signing.KeyProblem, match="larger than 10000 bytes"):
        signing.private_key(path)
