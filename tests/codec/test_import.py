"""Importing scapystack opens no socket, imports no Scapy and changes nothing of its `conf`."""

import subprocess
import sys
import textwrap


def python(code):
    """Run `code` in a fresh interpreter; its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


AUDIT = """
    import sys
    opened = []
    def audit(event, args):
        if event.startswith("socket.") or event in ("os.exec", "subprocess.Popen", "os.posix_spawn", "fcntl.ioctl"):
            opened.append((event, args))
    sys.addaudithook(audit)
"""


def test_import_opens_no_socket_starts_nothing_and_brings_no_scapy():
    code = """
    import scapystack, scapystack.codec, scapystack.base.frames, scapystack.base.guard
    assert not opened, opened
    loaded = [name for name in sys.modules if name == "scapy" or name.startswith("scapy.")]
    assert not loaded, loaded
    print("clean")
    """
    assert python(textwrap.dedent(AUDIT) + textwrap.dedent(code)) == "clean"


def test_import_every_module_of_the_codec_brings_no_scapy():
    code = """
    import importlib, pkgutil, sys
    import scapystack.codec
    names = [module.name for module in pkgutil.walk_packages(scapystack.codec.__path__, "scapystack.codec.")]
    for name in names:
        importlib.import_module(name)
    assert len(names) >= 4, names
    assert not any(name.partition(".")[0] == "scapy" for name in sys.modules)
    print("clean")
    """
    assert python(code) == "clean"


CONF = """
    def settings():
        from scapy.config import conf
        names = [name for name in dir(conf) if not name.startswith("_")]
        plain = {}
        for name in names:
            value = getattr(conf, name)
            if isinstance(value, (bool, int, str, float, type(None), list, tuple)):
                plain[name] = repr(value)
        return plain
"""


def test_import_and_use_leave_scapys_conf_as_it_was():
    # what Scapy's own modules set when they are imported is not ours: they come first
    code = """
    import scapy.layers.inet, scapy.layers.inet6, scapy.layers.l2
    before = settings()
    assert len(before) > 40, before
    import scapystack, scapystack.codec
    from scapystack.base.frames import Frame
    for mode in scapystack.codec.MODES:
        scapystack.codec.make_codec(mode).packet(bytes(60))
    Frame(bytes(60)).packet
    after = settings()
    assert before == after, {k: (before.get(k), after.get(k)) for k in before | after if before.get(k) != after.get(k)}
    assert "scapy.all" not in sys.modules
    print("same")
    """
    assert python("import sys\n" + textwrap.dedent(CONF) + textwrap.dedent(code)) == "same"


def test_use_does_not_import_scapy_all_and_opens_no_socket_of_ours():
    code = """
    import scapy.layers.inet, scapy.layers.inet6, scapy.layers.l2
    del opened[:]
    import scapystack.codec as codec
    codec.make_codec("paranoid").decode_udp(bytes(8), 0)
    codec.TcpCodec()
    codec.dissect(bytes(60)).summary()
    assert not opened, opened
    assert "scapy.all" not in sys.modules
    print("clean")
    """
    assert python(textwrap.dedent(AUDIT) + textwrap.dedent(code)) == "clean"
