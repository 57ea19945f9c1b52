"""The receiver's ledger of sequences, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.record import Identity
from gateway.core.segments import SEGMENTS_PER_EPOCH, Loss, LossReport, SegmentEnd, encode_body
from gateway.receiver import NotARecord, Offer, Receiver, SequenceLedger
from tests.support.spool import envelope

S = 5 * SEGMENTS_PER_EPOCH


def identity(sequence: int, segment: int = S, stream: str = "samples") -> Identity:
    return Identity("plant", stream, segment, sequence)


def payload(sequence: int, segment: int = S, stream: str = "samples", body: bytes = b'{"record":"samples"}') -> bytes:
    return envelope(identity(sequence, segment, stream), body)


def loss(first: int, last: int, segment: int = S) -> Loss:
    return Loss(
        stream="samples",
        reason="spool full",
        records=last - first + 1,
        samples=0,
        first_ns=0,
        last_ns=0,
        dropped_ns=0,
        segment=segment,
        from_sequence=first,
        to_sequence=last,
    )


def test_what_comes_again_is_a_duplicate() -> None:
    ledger = SequenceLedger()
    assert [ledger.offer(identity(n)) for n in (1, 2, 1, 2, 3)] == [
        Offer.NEW,
        Offer.NEW,
        Offer.DUPLICATE,
        Offer.DUPLICATE,
        Offer.NEW,
    ]
    assert (ledger.summary().received, ledger.summary().duplicates, ledger.summary().missing) == (3, 2, 0)


def test_a_gap_is_missing_until_it_fills_and_then_it_is_whole() -> None:
    ledger = SequenceLedger()
    ledger.offer(identity(1))
    assert ledger.offer(identity(5)) is Offer.NEW_AFTER_GAP
    assert ledger.summary().ranges[0].ranges == ((2, 4),)
    assert ledger.offer(identity(3)) is Offer.NEW
    assert ledger.offer(identity(3)) is Offer.DUPLICATE
    assert ledger.summary().ranges[0].ranges == ((2, 2), (4, 4))
    assert [ledger.offer(identity(n)) for n in (2, 4, 6)] == [Offer.NEW] * 3
    assert ledger.summary().missing == 0


def test_streams_segments_and_gateways_do_not_mix() -> None:
    ledger = SequenceLedger()
    others = [identity(1), identity(1, S + 1), identity(1, stream="events"), Identity("other", "samples", S, 1)]
    assert [ledger.offer(other) for other in others] == [Offer.NEW] * 4


def test_a_complete_segment_is_forgotten_yet_its_records_stay_duplicates() -> None:
    ledger = SequenceLedger()
    for segment in range(S, S + 50):
        for sequence in (1, 2):
            ledger.offer(identity(sequence, segment))
        ledger.segment_end(identity(2, segment), 2)
    (stream,) = ledger.state.streams.values()
    assert (stream.open, stream.complete, stream.complete_below) == ({}, set(), {5: 50})
    assert ledger.offer(identity(2, S + 20)) is Offer.DUPLICATE
    assert ledger.offer(identity(1, S + 50)) is Offer.NEW


def test_a_segment_that_lacks_a_record_is_not_forgotten() -> None:
    ledger = SequenceLedger()
    ledger.offer(identity(3))
    ledger.segment_end(identity(3), 3)
    assert ledger.summary().segments_incomplete == 1
    ledger.offer(identity(1))
    ledger.offer(identity(2))
    assert ledger.summary().segments_incomplete == 0


@pytest.mark.parametrize("explained_first", [True, False])
def test_a_gap_that_the_sender_explains_is_not_missing(explained_first: bool) -> None:
    ledger = SequenceLedger()
    if explained_first:
        ledger.explain("plant", [loss(2, 3)])
    for sequence in (1, 4, 6):
        ledger.offer(identity(sequence))
    ledger.segment_end(identity(6), 6)
    if not explained_first:
        ledger.explain("plant", [loss(2, 3)])
    assert ledger.summary().ranges[0].ranges == ((5, 5),)
    ledger.explain("plant", [loss(5, 5)])
    assert (ledger.summary().missing, ledger.summary().dropped_by_sender) == (0, 3)
    assert ledger.summary().segments_incomplete == 0


def test_a_whole_segment_that_was_dropped_is_told_from_one_that_is_missing() -> None:
    ledger = SequenceLedger()
    ledger.explain("plant", [loss(1, 9)])
    ledger.offer(identity(10))
    ledger.segment_end(identity(10), 10)
    ledger.offer(identity(1, S + 3))
    (unseen,) = ledger.summary().segments_unseen
    assert (unseen.first_segment, unseen.last_segment) == (S + 1, S + 2)


def test_a_gateway_with_a_new_disk_is_not_taken_for_its_predecessor() -> None:
    ledger = SequenceLedger()
    ledger.offer(identity(1))
    ledger.segment_end(identity(1), 1)
    assert ledger.offer(identity(1, 3 * SEGMENTS_PER_EPOCH)) is Offer.NEW
    assert ledger.summary().segments_unseen == ()


def test_gaps_are_bounded_and_what_is_given_up_counts_as_missing() -> None:
    ledger = SequenceLedger(ranges_max=10)
    for sequence in range(1, 101, 2):
        ledger.offer(identity(sequence))
    (stream,) = ledger.state.streams.values()
    assert len(stream.open[S].gaps) == 10
    assert ledger.summary().missing == 49
    assert ledger.offer(identity(2)) is Offer.DUPLICATE


def test_incomplete_segments_are_bounded_and_what_is_given_up_counts_as_missing() -> None:
    ledger = SequenceLedger(segments_max=4)
    for segment in range(S, S + 10):
        ledger.offer(identity(2, segment))
    (stream,) = ledger.state.streams.values()
    assert len(stream.open) == 4
    assert ledger.summary().missing == 10


def test_a_receiver_that_began_late_does_not_grow() -> None:
    ledger = SequenceLedger(segments_max=8)
    for segment in range(S + 100, S + 200):
        ledger.offer(identity(1, segment))
        ledger.segment_end(identity(1, segment), 1)
    (stream,) = ledger.state.streams.values()
    assert len(stream.complete) <= 8
    assert ledger.summary().segments_given_up == 100
    assert ledger.summary().segments_unseen == ()


def test_data_and_sequences_are_committed_together(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "far.db")
    receiver.accept(payload(1))
    receiver.commit()
    receiver.accept(payload(2))
    receiver.close()
    again = Receiver(tmp_path / "far.db")
    assert [again.accept(payload(n)) for n in (1, 2)] == [Offer.DUPLICATE, Offer.NEW]
    again.rollback()
    assert again.accept(payload(2)) is Offer.NEW
    again.close()


def test_segment_ends_and_loss_reports_are_understood(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "far.db")
    receiver.accept(payload(1))
    receiver.accept(payload(4, body=encode_body(SegmentEnd(4))))
    assert receiver.summary().missing == 2
    report = payload(1, stream="events", body=encode_body(LossReport((loss(2, 3),))))
    assert [receiver.accept(report), receiver.accept(report)] == [Offer.NEW, Offer.DUPLICATE]
    receiver.commit()
    summary = receiver.summary()
    assert (summary.missing, summary.dropped_by_sender, summary.received) == (0, 2, 3)
    receiver.close()


@pytest.mark.parametrize("garbage", [b"", b"{}", b"[1]", b'{"gateway":"a","stream":"b","segment":-1,"sequence":0}'])
def test_a_payload_that_is_no_record_is_named(tmp_path: Path, garbage: bytes) -> None:
    receiver = Receiver(tmp_path / "far.db")
    with pytest.raises(NotARecord):
        receiver.accept(garbage)
    receiver.close()
