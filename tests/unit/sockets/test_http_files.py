"""What a path leads to, and that none leads out of the directory."""

import os

import pytest

from scapystack.base.errors import ConfigError
from scapystack.sockets.services.http_files import Directory, Missing, Moved, OpenFile, Page


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "www"
    (root / "sub").mkdir(parents=True)
    (root / "indexed").mkdir()
    (root / "page.html").write_text("<p>hi")
    (root / "data.bin").write_bytes(bytes(1000))
    (root / "pack.tar.gz").write_bytes(b"x")
    (root / "a <b> & c.txt").write_text("odd")
    (root / "indexed" / "index.html").write_text("index")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "wwwevil").mkdir()
    (tmp_path / "wwwevil" / "x").write_text("not yours")
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "outdir").symlink_to(tmp_path / "wwwevil")
    (root / "inside").symlink_to(root / "page.html")
    os.mkfifo(root / "fifo")
    return root


def find(tree, path):
    found = Directory(tree).find(path)
    if isinstance(found, OpenFile):
        os.close(found.fd)
    return found


@pytest.mark.parametrize(
    ("path", "size", "kind"),
    [
        ("/page.html", 5, "text/html; charset=utf-8"),
        ("/data.bin", 1000, "application/octet-stream"),
        ("/pack.tar.gz", 1, "application/octet-stream"),
        ("//./page.html", 5, "text/html; charset=utf-8"),
        ("/inside", 5, "text/html; charset=utf-8"),
        ("/indexed/", 5, "text/html; charset=utf-8"),
    ],
)
def test_find_a_file_opens_it(tree, path, size, kind):
    found = find(tree, path)
    assert isinstance(found, OpenFile)
    assert (found.size, found.content_type) == (size, kind)


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/sub/../page.html",
        "/out",
        "/outdir/",
        "/outdir/x",
        "/nothing",
        "/page.html/",
        "/page.html/x",
        "/fifo",
        "/" + "a" * 5000,
        "/a\0b",
    ],
)
def test_find_outside_or_nothing_is_404(tree, path):
    assert find(tree, path) == Missing(404)


def test_find_a_directory_without_slash_is_moved_inside_this_host(tree):
    assert find(tree, "/sub") == Moved("/sub/")
    assert find(tree, "//sub") == Moved("/sub/")


def test_find_a_directory_lists_it_escaped(tree):
    found = find(tree, "/")
    assert isinstance(found, Page)
    text = found.body.decode()
    assert '<a href="a%20%3Cb%3E%20%26%20c.txt">a &lt;b&gt; &amp; c.txt</a>' in text
    assert '<a href="sub/">sub/</a>' in text
    assert "../" not in text
    assert '<a href="../">' in find(tree, "/sub/").body.decode()


def test_directory_of_nothing_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError):
        Directory(tmp_path / "none")
