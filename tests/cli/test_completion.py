"""What a shell offers at TAB, asked for as the script that `--install-completion` installs asks."""

from __future__ import annotations

import pytest

from accelmodel.cli.main import execute


def offered(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("_ACCELMODEL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    assert execute([]) == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("accelmodel ca", ["calibrate", "catalog"]),
        ("accelmodel catalog sch", ["schema"]),
        ("accelmodel run rain", ["rainier"]),
        ("accelmodel evaluate --model llama-3.1-", ["llama-3.1-405b", "llama-3.1-70b", "llama-3.1-8b"]),
        ("accelmodel optimize --system trn2", ["trn2-ultraserver", "trn2.3xlarge", "trn2.48xlarge", "trn2u.48xlarge"]),
        ("accelmodel catalog show trainium2", ["trainium2", "trainium2-vs-trainium3"]),
        ("accelmodel catalog list s", ["systems", "shapes", "sites", "scenarios", "sources"]),
        ("accelmodel evaluate --tensor-p", ["--tensor-parallel"]),
    ],
)
def test_commands_options_and_names_are_offered(words, some, monkeypatch, capsys):
    found = offered(words, monkeypatch, capsys)
    assert set(some) <= set(found)
    assert all(word.startswith(words.split(" ")[-1]) for word in found)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed(shell, capsys):
    assert execute(["--show-completion", shell]) == 0
    assert "_ACCELMODEL_COMPLETE" in capsys.readouterr().out
