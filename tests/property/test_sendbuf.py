"""The send buffer against plain bytes: any writes, acknowledgments and slices, in any order."""

from hypothesis import given
from hypothesis import strategies as st

from scapystack.layers.tcp.sendbuf import SendBuffer

WRITE = st.tuples(
    st.one_of(st.integers(0, 20), st.integers(0, 12_000)),
    st.sampled_from(
        [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b)), lambda b: memoryview(b"h" + b)[1:]]
    ),
)
STEP = st.one_of(
    st.tuples(st.just("append"), WRITE),
    st.tuples(st.just("small"), st.integers(1, 400)),
    st.tuples(st.just("ack"), st.floats(0, 1)),
    st.tuples(st.just("slice"), st.tuples(st.floats(0, 1), st.integers(0, 70_000))),
    st.tuples(st.just("send"), st.integers(1, 5000)),
)


@given(st.lists(STEP, max_size=60))
def test_any_steps_agree_with_bytes_and_views_never_change(steps):
    """Also the sender's own pattern: `send` goes on from where the last one ended."""
    buf = SendBuffer()
    model = b""
    written = 0
    sent = 0
    handed_out = []

    def pattern(n):
        nonlocal written
        written += n
        return bytes((written + i) * 131 >> 3 & 0xFF for i in range(n))

    for name, value in steps:
        if name == "append":
            n, kind = value
            data = pattern(n)
            given_data = kind(data)
            buf.append(given_data)
            if isinstance(given_data, bytearray):
                given_data[:] = bytes(n)  # ours to keep, whatever its owner does to it
            model += data
        elif name == "small":
            for _ in range(value):
                data = pattern(3)
                buf.append(data)
                model += data
        elif name == "ack":
            n = int(value * len(model))
            buf.ack(n)
            model = model[n:]
            sent = max(sent - n, 0)
        else:
            at, n = (sent, value) if name == "send" else (int(value[0] * len(model)), value[1])
            views = buf.slice(at, n)
            expected = model[at : at + n]
            assert b"".join(views) == expected
            assert all(len(view) for view in views)
            handed_out.append((views, expected))
            if name == "send":
                sent += len(expected)
        assert len(buf) == len(model)
    assert b"".join(buf.slice(0, len(model))) == model
    assert all(b"".join(views) == expected for views, expected in handed_out)
