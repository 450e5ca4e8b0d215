"""Where badges come from: manifests and archives as people export them, and as somebody hostile makes them."""

from __future__ import annotations

import json
import os
import random
import struct
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from ledger.cli import archive as archive_module
from ledger.cli import sources as sources_module
from ledger.cli.archive import MAX_DIRECTORY_BYTES, Archive
from ledger.cli.files import RECEIPT_SUFFIX
from ledger.cli.naming import MAX_NAME_BYTES, name_receipts, safe_path, short_name
from ledger.cli.reading import Item
from ledger.cli.sources import Listing, Source
from ledger.errors import InputError


def listed(*inputs: Path, out: Path | None = None) -> list[Source]:
    return list(Listing(inputs, out))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestFolders:
    def test_badges_below_a_folder_and_nothing_else(self, tmp_path: Path) -> None:
        """By their endings; receipts, hidden ones, links to folders and the output folder are left out."""
        top = tmp_path / "in"
        for name in ("b.json", "a.JSON", "sub/c.png", "README", "a.receipt.json", ".hidden/d.json", ".e.json"):
            write(top / name, "x")
        write(top / "out" / "f.json", "x")
        (top / "link").symlink_to(top / "sub")
        found = listed(top, out=top / "out")
        assert [(s.folder, s.name) for s in found] == [("", "a.JSON"), ("", "b.json"), ("sub", "c.png")]
        assert all(Path(s.path).is_file() for s in found)
        assert len(listed(top, top)) == 4
        assert len(listed(top, out=top)) == 4


class TestCsv:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
    def test_files_that_are_named(self, tmp_path: Path, delimiter: str, bom: bytes) -> None:
        """Relative to the manifest, in quotes or not, with what spreadsheets do to a header."""
        write(tmp_path / "in" / "a b.json", "x")
        write(tmp_path / "c.json", "x")
        text = (
            delimiter.join(["Name", " File "]) + "\r\n" + f'Ann{delimiter}"in/a b.json"\r\n\r\nBob{delimiter}c.json\r\n'
        )
        path = write(tmp_path / "class.csv", bom + text.encode())
        assert [(s.folder, s.name, s.error) for s in listed(path)] == [
            ("in", "a b.json", None),
            ("", "c.json", None),
        ]

    def test_badges_in_the_rows(self, tmp_path: Path) -> None:
        """The document itself, over several lines if need be, and the receipt's name where a column has it."""
        path = write(
            tmp_path / "a.b.csv", 'receipt,credential\nann,"{""a"":\n 1}"\n,eyJ.x.y\n../../bob.receipt.json,{}\n'
        )
        found = listed(path)
        assert [s.data for s in found] == [b'{"a":\n 1}', b"eyJ.x.y", b"{}"]
        assert [(s.folder, s.name) for s in found] == [("", "ann.json"), ("", "a.b-3.json"), ("", "bob.json")]

    def test_a_row_that_cannot_be_used_does_not_stop_the_others(self, tmp_path: Path) -> None:
        """Each with its own reason."""
        write(tmp_path / "a.json", "x")
        path = write(
            tmp_path / "c.csv", "file,name\n,x\nmissing.json,y\na.json,z\na.json\na\0b.json,w\n" + "a" * 5000 + ",v\n"
        )
        assert [s.error for s in listed(path)] == [
            "the row names no badge",
            "no such file",
            None,
            "the row has 1 column, the header 2",
            "no such file",
            "not the name of a file",
        ]

    def test_bytes_that_are_no_utf8_stay_with_their_row(self, tmp_path: Path) -> None:
        """And what is to be done is said there, for badges, files and names; a file is called what it is called."""
        path = write(tmp_path / "c.csv", b"badge\nx\xff\ny\n")
        found = listed(path)
        assert [s.data for s in found] == [None, b"y"]
        assert "not UTF-8: save it as UTF-8" in str(found[0].error)
        latin = "Zo\u00eb.json".encode("latin-1")
        (found_file,) = listed(write(tmp_path / "d.csv", b"file\n" + latin))
        assert "not UTF-8: save it as UTF-8" in str(found_file.error)
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + latin)).write_text("x")
        assert listed(tmp_path / "d.csv")[0].error is None
        (named,) = listed(write(tmp_path / "e.csv", b"file;receipt\na.json;" + latin))
        assert "not UTF-8" in str(named.error)
        with pytest.raises(InputError, match="not UTF-8: save it as UTF-8"):
            listed(write(tmp_path / "f.csv", b"Pr\xfcfung\nx\n"))
        for lines, error in ((b'{"x": "\xff"}\n', "the line is not UTF-8"), (b"\xff\xfe{\x00", None)):
            path = write(tmp_path / "g.ndjson", lines)
            if error is None:
                with pytest.raises(InputError, match="UTF-16: save it as UTF-8"):
                    listed(path)
            else:
                assert str(listed(path)[0].error).startswith(error)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "is empty|header needs"),
            (b"name,email\nx,y\n", "the header needs one column"),
            (b"file,badge\nx,y\n", "more than one"),
            (b"\xff\xfef\x00i\x00l\x00e\x00\n\x00", "UTF-16"),
            (b'badge\n"x', "not CSV"),
            (b'badge\n"x"y\n', "not CSV"),
        ],
    )
    def test_what_is_no_manifest(self, tmp_path: Path, content: bytes, reason: str) -> None:
        """The whole of it is refused in one sentence that names it."""
        path = write(tmp_path / "c.csv", content)
        with pytest.raises(InputError, match=reason) as refused:
            listed(path)
        assert str(path) in refused.value.detail

    def test_sizes_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lines, cells and rows: nothing of any size is read into memory."""
        monkeypatch.setattr(sources_module, "MAX_ROW_BYTES", 1000)
        monkeypatch.setattr(sources_module, "_MAX_CELL_CHARS", 1500)
        with pytest.raises(InputError, match="longer than 1000 bytes"):
            listed(write(tmp_path / "a.csv", "badge\n" + "x" * 1001))
        with pytest.raises(InputError, match="not CSV: field larger"):
            listed(write(tmp_path / "b.csv", 'badge\n"' + "x\n" * 1000))
        monkeypatch.setattr(sources_module, "MAX_ROWS", 3)
        assert len(listed(write(tmp_path / "c.csv", "badge\n" + "x\n" * 3))) == 3
        with pytest.raises(InputError, match="more than 3 rows"):
            listed(write(tmp_path / "c.csv", "badge\n" + "x\n" * 4))
        with pytest.raises(InputError, match="more than 3 lines"):
            listed(write(tmp_path / "c.ndjson", "{}\n" * 4))


class TestNdjson:
    def test_each_kind_of_line(self, tmp_path: Path) -> None:
        """A document to the byte, a token, a file; a line that is none of them is for the badge's reader."""
        write(tmp_path / "in" / "a.json", "x")
        lines = [
            '{"x": 1.50 }',
            '"eyJ.x.y"',
            "",
            '{"file": "in/a.json"}',
            '{"file":"in/a.json","receipt":"ann"}',
            "{]",
            '"x" "',
        ]
        found = listed(write(tmp_path / "n.ndjson", "\n".join(lines)))
        assert [s.data for s in found] == [b'{"x": 1.50 }', b"eyJ.x.y", None, None, b"{]", None]
        assert [(s.folder, s.name) for s in found] == [
            ("", "n-1.json"),
            ("", "n-2.json"),
            ("in", "a.json"),
            ("", "ann.json"),
            ("", "n-6.json"),
            ("", "n-7.json"),
        ]
        assert found[-1].error == "the line is not one JSON string"

    @pytest.mark.parametrize("name", ["/etc/hostname", "../x.json", "a/../../x.json"])
    def test_files_elsewhere_leave_no_folder_behind(self, tmp_path: Path, name: str) -> None:
        """A manifest may name files anywhere; the receipt stays in --out."""
        path = write(tmp_path / "n.ndjson", json.dumps({"file": name}))
        (source,) = listed(path)
        assert source.folder == ""
        assert "/" not in source.name

    def test_a_fifo_is_not_waited_for(self, tmp_path: Path) -> None:
        """Only ordinary files are opened."""
        os.mkfifo(tmp_path / "p.json")
        (source,) = listed(write(tmp_path / "n.ndjson", '{"file": "p.json"}'))
        assert source.error == "no such file"


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return path


class TestZip:
    def test_badges_in_it(self, tmp_path: Path) -> None:
        """In nested folders; what systems add of their own is left out, and nothing is unpacked to disk."""
        members = {name: name.encode() for name in ("a.json", "x/y/b.PNG", "__MACOSX/._a.json", ".c.json", "README.md")}
        path = zip_of(tmp_path / "e.zip", members)
        found = listed(path)
        assert [(s.folder, s.name) for s in found] == [("", "a.json"), ("x/y", "b.PNG")]
        with Archive(path) as archive:
            assert [archive.read(s.member or 0, 100) for s in found] == [b"a.json", b"x/y/b.PNG"]
        assert os.listdir(tmp_path) == ["e.zip"]

    @pytest.mark.parametrize(
        "name",
        [
            "../../evil.json",
            "/etc/evil.json",
            "C:\\Windows\\evil.json",
            "..\\..\\evil.json",
            "a/../../../evil.json",
            "./evil.json",
        ],
    )
    def test_names_do_not_leave_the_folder(self, tmp_path: Path, name: str) -> None:
        """Whatever a member is called, its receipt lies below --out."""
        (source,) = listed(zip_of(tmp_path / "e.zip", {name: b"{}"}))
        assert source.name == "evil.json"
        target = (tmp_path / "out" / source.folder / source.name).resolve()
        assert target.is_relative_to(tmp_path / "out")

    def test_members_that_cannot_be_read(self, tmp_path: Path) -> None:
        """Encrypted, packed otherwise, too large, damaged: each in one sentence."""
        path = zip_of(tmp_path / "e.zip", {"a.json": b"{}" * 500})
        whole = path.read_bytes()
        central = whole.index(b"PK\x01\x02")

        def reason(data: bytes, limit: int = 10_000) -> str:
            path.write_bytes(data)
            with Archive(path) as archive, pytest.raises(InputError) as refused:
                archive.read(0, limit)
            return refused.value.detail

        flagged = bytearray(whole)
        flagged[central + 8] |= 1
        assert "encrypted" in reason(bytes(flagged))
        assert "longer than 10 bytes" in reason(whole, 10)
        damaged = bytearray(whole)
        damaged[40] ^= 0xFF
        assert "damaged" in reason(bytes(damaged))
        zip_of(path, {"a.json": b"{}"}, zipfile.ZIP_LZMA)
        assert "other than deflate" in reason(path.read_bytes())

    def test_bombs(self, tmp_path: Path) -> None:
        """Members that inflate to more than 200 times the file, together, are refused before one is read."""
        path = zip_of(tmp_path / "e.zip", {f"{k}.json": bytes(8 << 20) for k in range(4)})
        with pytest.raises(InputError, match="inflate to more than"):
            listed(path)

    def test_a_size_that_lies(self, tmp_path: Path) -> None:
        """A member that states less than it inflates to is cut there, and its checksum does not fit."""
        path = zip_of(tmp_path / "e.zip", {"a.json": bytes(1 << 20)})
        data = bytearray(path.read_bytes())
        central = data.index(b"PK\x01\x02")
        data[central + 24 : central + 28] = (100).to_bytes(4, "little")
        path.write_bytes(bytes(data))
        with Archive(path) as archive, pytest.raises(InputError, match="damaged"):
            archive.read(0, 1000)

    @pytest.mark.parametrize("zip64", [False, True])
    def test_a_directory_of_any_size_is_not_read(
        self, tmp_path: Path, zip64: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The stated size is judged before the library takes that much into memory."""
        monkeypatch.setattr(zipfile, "ZipFile", None)  # would raise another error
        size = MAX_DIRECTORY_BYTES + 1
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFFF if zip64 else size, 0, 0)
        if zip64:
            record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, 0)
            end = record + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + end
        with pytest.raises(InputError, match="more members than"):
            Archive(write(tmp_path / "e.zip", b"x" * 100 + end))

    def test_what_is_no_zip(self, tmp_path: Path) -> None:
        """Refused by name, and so is one without a badge in it."""
        for content in (b"", b"x", b"PK\5\6", b"PK\5\6" + bytes(18)):
            with pytest.raises(InputError, match=r"e\.zip"):
                listed(write(tmp_path / "e.zip", content))
        with pytest.raises(InputError, match="no file in it is a badge"):
            listed(zip_of(tmp_path / "f.zip", {"README": b""}))

    def test_any_damage_ends_in_one_sentence(self, tmp_path: Path) -> None:
        """Bytes changed anywhere: an InputError or a member's, quickly, never anything else."""
        path = zip_of(tmp_path / "e.zip", {"a.json": b"{}" * 300, "b/c.json": b"[]"})
        whole = path.read_bytes()
        chance = random.Random(4)
        started = time.process_time()
        for _ in range(1500):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
            path.write_bytes(bytes(data))
            with suppress(InputError):
                for source in listed(path):
                    with Archive(path) as archive:
                        archive.read(source.member or 0, 10_000)
        assert time.process_time() - started < 60


class TestNames:
    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("alice.json", ("", "alice.json")),
            ("klasse 4b/Zoë.json", ("klasse 4b", "Zoë.json")),
            ("a\\b/c.json", ("a/b", "c.json")),
            ("CON.json", ("", "_CON.json")),
            ("aux/nul", ("_aux", "_nul")),
            ("com1.txt", ("", "_com1.txt")),
            ("a:b?.json", ("", "a_b_.json")),
            ("a\0\x1b[2J.json", ("", "a__[2J.json")),
            ("x\u202egnp.json", ("", "x_gnp.json")),
            ("dots. . .", ("", "dots")),
            ("...", ("", "_")),
            (".badge-ledger-staging/.x.json", ("_badge-ledger-staging", "_x.json")),
            ("", ("", "_")),
            ("\udc80.json", ("", "_.json")),
        ],
    )
    def test_a_path_becomes_one_that_every_system_can_write(self, text: str, path: tuple[str, str]) -> None:
        """And stays as it was where it is one."""
        assert safe_path(text) == path

    def test_long_names_are_cut_and_stay_apart(self) -> None:
        """So that the receipt's ending fits, whatever the characters."""
        names = {safe_path("é" * 300 + f"{k}.json")[1] for k in range(3)} | {short_name("x" * 250)}
        assert len(names) == 4
        assert all(len(os.fsencode(name)) <= MAX_NAME_BYTES for name in names)
        assert all(name.endswith(".json") for name in names if "é" in name)

    @pytest.mark.parametrize("order", [1, -1])
    def test_no_two_badges_share_a_receipt(self, order: int) -> None:
        """Equal stems keep their endings; equal names get a part of the commitment; the order changes nothing."""
        items = [
            Item("1", "", "a.json", b"1" * 32),
            Item("2", "", "a.png", b"2" * 32),
            Item("3", "", "A.PNG", b"3" * 32),
            Item("4", "x", "a.json", b"4" * 32),
            Item("5", "x", "a.json", b"5" * 32),
            Item("6", "x", "a.json", b"5" * 32),
            Item("7", "y", "a.json", b"7" * 32),
            Item("8", "", "a.json.txt", b"8" * 32),
            Item("9", "", "b.json", b"9" * 32),
        ]
        assert name_receipts(items[::order]) == []
        names = {item.label: item.receipt.removesuffix(RECEIPT_SUFFIX) for item in items}
        assert names == {
            "1": "a.json." + "31" * 6,
            "2": "a.png." + "32" * 6,
            "3": "A.PNG." + "33" * 6,
            "4": "x/a.json." + "34" * 6,
            "5": "x/a.json." + "35" * 6,
            "6": "x/a.json." + "35" * 6,
            "7": "y/a",
            "8": "a.json.txt." + "38" * 6,
            "9": "b",
        }

    def test_names_chosen_to_clash_are_told(self) -> None:
        """A name that is made to look like another badge's: both fail, and neither receipt is overwritten."""
        items = [
            Item("1", "", "a.json", b"1" * 32),
            Item("2", "", "a.json", b"2" * 32),
            Item("3", "", "a.json." + "31" * 6 + ".json", b"3" * 32),
        ]
        assert {item.label for item in name_receipts(items)} == {"1", "3"}


def test_the_archive_limits_are_what_the_page_says() -> None:
    """32 MiB of directory, 200 times."""
    assert (MAX_DIRECTORY_BYTES, archive_module.MAX_RATIO) == (32 << 20, 200)
