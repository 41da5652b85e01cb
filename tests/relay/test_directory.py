"""The directory, from the command line and from a file that changes."""

import logging
from pathlib import Path

import pytest
import trio
import trio.testing

from trioice.relay.directory import Directory, DirectoryFile, watch
from trioice.relay.token import Route

TEXT = """
# the first cluster
1 7 192.0.2.5:7000
1 8 [2001:0db8:0::5]:7000   # as the socket shows it: 2001:db8::5
0 4294967295 192.0.2.5:7000
"""


def test_a_file_has_an_entry_a_line() -> None:
    directory = Directory.read(TEXT)
    assert len(directory) == 3
    assert directory.find(Route(1, 7)) == ("192.0.2.5", 7000)
    assert directory.find(Route(1, 8)) == ("2001:db8::5", 7000, 0, 0)
    assert directory.find(Route(0, 4294967295)) == ("192.0.2.5", 7000)
    assert directory.find(Route(1, 9)) is None


def test_a_command_line_has_an_entry_a_word() -> None:
    directory = Directory.of(["1/7=192.0.2.5:7000", "65535/0=[2001:db8::5]:1"])
    assert directory.find(Route(1, 7)) == ("192.0.2.5", 7000)
    assert directory.find(Route(65535, 0)) == ("2001:db8::5", 1, 0, 0)


def test_it_tells_transceivers_from_others() -> None:
    directory = Directory.read(TEXT)
    assert ("192.0.2.5", 7000) in directory
    assert ("2001:db8::5", 7000, 0, 0) in directory
    assert ("192.0.2.5", 7001) not in directory
    assert ("192.0.2.6", 7000) not in directory


def test_it_tells_whom_a_socket_cannot_reach() -> None:
    directory = Directory.read(TEXT)
    assert directory.unreachable_from("192.0.2.1") == "2001:db8::5"
    assert directory.unreachable_from("2001:db8::1") == "192.0.2.5"
    assert directory.unreachable_from("::") is None  # it serves both versions
    assert Directory.of(["1/7=192.0.2.5:7000"]).unreachable_from("0.0.0.0") is None


def test_it_can_be_replaced_as_a_whole() -> None:
    directory = Directory.read(TEXT)
    directory.replace(Directory.of(["1/7=192.0.2.6:7000"]))
    assert len(directory) == 1
    assert ("192.0.2.5", 7000) not in directory
    assert directory.find(Route(1, 7)) == ("192.0.2.6", 7000)


def test_an_empty_directory_is_one() -> None:
    assert len(Directory.read("# nobody yet\n")) == len(Directory.of([])) == len(Directory()) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n1 7", "line 2 is no 'cluster shard host:port': three words are wanted, not 2"),
        ("1 7 192.0.2.5:7000 8", "three words are wanted, not 4"),
        ("65536 7 192.0.2.5:7000", "a cluster is a number from 0 to 65535, not '65536'"),
        ("-1 7 192.0.2.5:7000", "a cluster is a number from 0 to 65535, not '-1'"),
        ("1 4294967296 192.0.2.5:7000", "a shard is a number from 0 to 4294967295"),
        (f"1 {'9' * 5000} 192.0.2.5:7000", "a shard is a number"),
        ("1 ² 192.0.2.5:7000", "a shard is a number"),
        ("1 7 192.0.2.5:65536", "a port is a number from 0 to 65535"),
        ("1 7 192.0.2.5:", "a port is a number"),
        ("1 7 192.0.2.5", "does not appear to be an IPv4 or IPv6 address"),
        ("1 7 edge.example:7000", "'edge.example' does not appear to be an IPv4 or IPv6 address"),
        ("1 7 2001:db8::5:7000", "IPv6 addresses, and no others, stand in brackets"),
        ("1 7 [192.0.2.5]:7000", "IPv6 addresses, and no others, stand in brackets"),
        ("1 7 192.0.2.5:7000\n1 7 192.0.2.6:7000", "line 2 .* shard 1/7 stands there twice"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Directory.read(text)


@pytest.mark.parametrize("entry", ["", "1/7", "1=192.0.2.5:7000", "1/7/8=192.0.2.5:7000", "1/7=192.0.2.5"])
def test_a_wrong_entry_is_refused_and_shown(entry: str) -> None:
    with pytest.raises(ValueError, match="is no cluster/shard=host:port") as error:
        Directory.of(["1/1=192.0.2.5:7000", entry])
    assert repr(entry) in str(error.value)


def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="directory: line 1 "):
        Directory.load(path)
    with pytest.raises(FileNotFoundError):
        Directory.load(tmp_path / "nowhere")


# A file that changes


class Told(Directory):
    """A directory that tells when it was replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced = trio.Event()

    def replace(self, other: Directory) -> None:
        super().replace(other)
        self.replaced.set()
        self.replaced = trio.Event()


def write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


async def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    directory = Told()
    file = DirectoryFile(tmp_path / "directory", directory)
    write(tmp_path / "directory", "1 7 192.0.2.5:7000")
    await file.look()
    assert directory.find(Route(1, 7)) == ("192.0.2.5", 7000)
    unchanged = directory.replaced
    await file.look()
    assert not unchanged.is_set()
    write(tmp_path / "directory", "1 7 192.0.2.6:7000")
    await file.look()
    assert directory.find(Route(1, 7)) == ("192.0.2.6", 7000)


async def test_a_broken_file_leaves_the_directory_as_it_was_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, directory = tmp_path / "directory", Directory.of(["1/7=192.0.2.5:7000"])
    file = DirectoryFile(path, directory)
    caplog.set_level(logging.WARNING, "trioice")
    for breakage in (lambda: write(path, "1 7 nonsense"), path.unlink, lambda: path.write_bytes(b"\xff")):
        breakage()
        for _ in range(3):
            await file.look()
        assert directory.find(Route(1, 7)) == ("192.0.2.5", 7000)
        assert [message.partition(":")[0] for message in caplog.messages] == ["the directory stays as it was"]
        caplog.clear()


async def test_a_file_that_comes_back_is_read(tmp_path: Path) -> None:
    path, directory = tmp_path / "directory", Directory()
    file = DirectoryFile(path, directory)
    await file.look()
    assert len(directory) == 0
    write(path, "1 7 192.0.2.5:7000")
    await file.look()
    assert len(directory) == 1


async def test_a_watched_file_is_looked_at_again_and_again(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    path, directory = tmp_path / "directory", Told()
    for number in range(3):
        replaced = directory.replaced
        write(path, "".join(f"1 {shard} 192.0.2.5:7000\n" for shard in range(number)))
        if number == 0:
            nursery.start_soon(watch, path, directory)
        await replaced.wait()
        assert len(directory) == number
