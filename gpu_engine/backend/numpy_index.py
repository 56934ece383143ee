"""An append-only map from int64 keys to dense ids, on NumPy: looked up and filled a batch at a time.

Floor 1: imports numpy only. Keys that lie close together (serial numbers, dictionary codes) are looked up in a table
over their range. Other keys go to a hash table of buckets: a bucket is one cache line of 8 slots, a slot is one int64
with 31 bits of hash (the tag) above the id, so that a slot is read and written in one piece. A lookup fetches one
bucket per key and compares all its tags at once; the key array then proves each hit. Full buckets spill into the next
one. The index changes from the one form to the other by itself when it outgrows its table.

Nothing is ever removed, and only free slots are written. So readers need no lock: what a reader finds is right, and
what was inserted before it started is there. A table that is outgrown stays as it is; the larger one is filled first
and then takes its place by one assignment.

Measured costs are at `NumpyIndex`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpu_engine.backend.numpy_memory import held, roomy
from gpu_engine.backend.numpy_sort import Int64s, first_occurrences, order_within, run_starts

__all__ = ["NumpyIndex"]

Int32s = npt.NDArray[np.int32]
Tags = npt.NDArray[np.uint16]

MAX_KEYS = 2**31 - 1
_FIRST, _LAST = -(2**63), 2**63 - 1

RANGE_SPREAD = 4
"""The range table may have so many places per key (4 bytes each): as much memory as the hash table needs."""
RANGE_FREE = 4096
"""... and so many places more, whatever the number of keys."""

SLOT_BITS = 5
SLOTS = 1 << SLOT_BITS
SLOT_MASK = SLOTS - 1
KEYS_PER_BUCKET = 20
"""The hash table grows beyond so many keys per bucket: 62% full, 0.03% of keys spilt, 18 to 36 bytes per key."""
MIN_BUCKET_BITS = 4
LOOKUP_CHUNK = 1 << 14
"""Keys looked up at a time, so that their buckets stay in the processor's cache."""
PLACE_CHUNK = 1 << 20
"""Keys placed at a time: bounds the working memory of a bulk load."""

# Odd constants with well spread bits: 2**64 / golden ratio, and the first multiplier of MurmurHash3's finaliser.
MULTIPLIER_1 = np.uint64(0x9E3779B97F4A7C15)
MULTIPLIER_2 = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)
_ONE = np.uint16(1)
_NONE = np.empty(0, np.int64)


class _Slots(Protocol):
    """The keys and one form of the table that leads to their ids. Outgrown, it is replaced by a larger one."""

    keys: Int64s
    """(capacity,) int64: the key of each id; the rest is free."""

    def nbytes(self, count: int, high: int) -> int:
        """Bytes held for `count` keys up to `high`."""
        ...

    def lookup(self, keys: Int64s) -> Int32s: ...

    def place(self, keys: Int64s, ids: Int64s) -> None:
        """Write the ids of keys that the table does not lead to yet; the key array has them already."""
        ...

    def fits(self, total: int, low: int, high: int) -> bool:
        """Whether `total` keys in `low`..`high` have room."""
        ...


class NumpyIndex:
    """The `IntIndex` of the CPU. One writer at a time; readers may look up meanwhile.

    Notes
    -----
    Best times on a 2-core Xeon with 5 million keys, in a range table / in a hash table:

    ==================================  =========  =========
    look up 100 keys                       2.4 us      13 us
    insert 100 known keys                  3.4 us      15 us
    insert 100 new keys                     15 us      90 us
    look up 10,000 random keys              50 us     0.9 ms
    insert 5 million at once, in order      97 ms     0.5 s
    insert 5 million at once, shuffled     150 ms     0.8 s
    bytes per key                              16         18
    ==================================  =========  =========

    An insert that outgrows its table pays for filling the next one: 0.2 s at 5 million scattered keys. Readers do not
    wait for it. Right after that it holds at most 36 bytes per key.
    """

    def __init__(self) -> None:
        self._slots: _Slots = _RangeSlots(0, 0, -1)
        self._count = 0
        self._low, self._high = _LAST, _FIRST

    def __len__(self) -> int:
        """Return how many keys have an id."""
        return self._count

    @property
    def keys(self) -> Int64s:
        """(len,) int64: the key of each id."""
        count = self._count  # read before the array: a larger array has these keys too
        return self._slots.keys[:count]

    @property
    def nbytes(self) -> int:
        """Bytes held, free room included."""
        return self._slots.nbytes(self._count, self._high)

    def lookup(self, keys: Int64s) -> Int32s:
        """Return (n,) int32: the id of each key, -1 where it has none."""
        _require_int64(keys)
        slots = self._slots
        if len(keys) <= LOOKUP_CHUNK:
            return slots.lookup(keys)
        ids = np.empty(len(keys), np.int32)
        for start in range(0, len(keys), LOOKUP_CHUNK):
            chunk = slice(start, start + LOOKUP_CHUNK)
            ids[chunk] = slots.lookup(keys[chunk])
        return ids

    def insert(self, keys: Int64s) -> Int32s:
        """Return (n,) int32: the id of each key; unknown ones get the next ids, in order of first occurrence."""
        ids = self.lookup(keys)
        missing = ids < 0
        count = np.count_nonzero(missing)
        if not count:
            return ids
        if count == len(keys):
            return self._append(keys)
        unknown = missing.nonzero()[0]
        ids[unknown] = self._append(keys[unknown])
        return ids

    def _append(self, keys: Int64s) -> Int32s:
        """Give ids to keys, at least one, that have none yet; return the id of each."""
        repeated = first_occurrences(keys)
        fresh = keys if repeated is None else keys[repeated[0]]
        count = self._count
        total = count + len(fresh)
        if total > MAX_KEYS:
            raise OverflowError(f"an index holds at most {MAX_KEYS} keys; {total} are asked for")
        self._publish(fresh, total)
        if repeated is None:
            return np.arange(count, total, dtype=np.int32)
        return (repeated[1] + count).astype(np.int32)

    def _publish(self, fresh: Int64s, total: int) -> None:
        low, high = min(self._low, int(fresh.min())), max(self._high, int(fresh.max()))
        slots = self._slots
        if not slots.fits(total, low, high):
            slots = self._larger(total, low, high)
        slots.keys[self._count : total] = fresh
        slots.place(fresh, np.arange(self._count, total))
        self._slots = slots
        self._count = total
        self._low, self._high = low, high

    def _larger(self, total: int, low: int, high: int) -> _Slots:
        """Return a table with room for `total` keys in `low`..`high` that has all keys of now."""
        larger: _Slots
        if high - low < RANGE_SPREAD * total + RANGE_FREE:
            free = (high - low) // 4 + RANGE_FREE // 4
            base = low if low == self._low else max(low - free, _FIRST)
            top = high if high == self._high else min(high + free, _LAST)
            larger = _RangeSlots(total + total // 4 + RANGE_FREE // 4, base, top)
        else:
            larger = _HashSlots(max(MIN_BUCKET_BITS, ((total - 1) // KEYS_PER_BUCKET).bit_length()))
        known = self.keys
        larger.keys[: len(known)] = known
        larger.place(known, np.arange(len(known)))
        return larger


class _RangeSlots:
    """The ids of the keys from `base` on, in a table with one place per possible key: id + 1, and 0 for none.

    Both arrays may be reservations (`numpy_memory`): then there is room for all keys that come after those of now.
    """

    def __init__(self, capacity: int, base: int, top: int) -> None:
        self.keys = roomy(capacity, np.int64)
        # The last place stays free: it answers for all keys that are out of range.
        self._table = roomy(top - base + 2, np.int32)
        self._low, self._high = base, base + len(self._table) - 2
        self._base = np.int64(base)
        self._last = np.uint64(len(self._table) - 1)

    def nbytes(self, count: int, high: int) -> int:
        return held(self.keys, count) + held(self._table, high - self._low + 1)

    def fits(self, total: int, low: int, high: int) -> bool:
        has_room = total <= len(self.keys) and self._low <= low and high <= self._high
        return has_room and high - low < RANGE_SPREAD * total + 2 * RANGE_FREE

    def lookup(self, keys: Int64s) -> Int32s:
        offsets = (keys - self._base).view(np.uint64)  # keys below the base wrap around to large offsets
        np.minimum(offsets, self._last, out=offsets)
        ids = self._table.take(offsets.view(np.int64))
        ids -= 1
        return ids

    def place(self, keys: Int64s, ids: Int64s) -> None:
        self._table[keys - self._base] = ids + 1


class _HashSlots:
    """The ids of any keys, in a hash table of 2**bits buckets.

    A slot is written key first, then id, then tag. A free slot has id 0: a reader that comes in between compares with
    the key of id 0, which is not the key it looks for, or is it and has that very id.
    """

    def __init__(self, bits: int) -> None:
        self.keys = np.empty(KEYS_PER_BUCKET << bits, np.int64)
        self._shift = np.uint64(64 - bits)
        self._last = (1 << bits) - 1
        self._tags = np.zeros((1 << bits, SLOTS), np.uint16)
        self._ids = np.zeros(SLOTS << bits, np.int32)
        self._used = np.zeros(1 << bits, np.uint8)

    def nbytes(self, count: int, high: int) -> int:
        return self.keys.nbytes + self._tags.nbytes + self._ids.nbytes + self._used.nbytes

    def fits(self, total: int, low: int, high: int) -> bool:
        return total <= len(self.keys)

    def lookup(self, keys: Int64s) -> Int32s:
        tags, buckets = self._hash(keys)
        ids, pending = self._probe(keys, tags, buckets)
        rows = pending
        while len(pending):
            keys, tags, buckets = keys[pending], tags[pending], (buckets[pending] + 1) & self._last
            found, pending = self._probe(keys, tags, buckets)
            ids[rows] = found
            rows = rows[pending]
        return ids

    def place(self, keys: Int64s, ids: Int64s) -> None:
        for start in range(0, len(keys), PLACE_CHUNK):
            chunk = slice(start, start + PLACE_CHUNK)
            tags, buckets = self._hash(keys[chunk])
            order = order_within(buckets, 0, self._last)
            self._fill(tags[order], ids[chunk][order], buckets[order])

    def _hash(self, keys: Int64s) -> tuple[Tags, Int64s]:
        """Return the tag, not 0, and the home bucket of each key."""
        mixed = keys.view(np.uint64) * MULTIPLIER_1
        mixed ^= mixed >> _HALF
        tags = np.maximum(mixed.view(np.uint16)[3::4], _ONE)
        mixed *= MULTIPLIER_2
        mixed >>= self._shift
        return tags, mixed.view(np.int64)

    def _probe(self, keys: Int64s, tags: Tags, buckets: Int64s) -> tuple[Int32s, Int64s]:
        """Return the ids found in these buckets, and the rows that have to go on to the next bucket."""
        slots = self._tags.take(buckets, axis=0)
        places = (slots == tags[:, None]).ravel().nonzero()[0]
        if len(places) == len(keys):
            ids = self._ids.take((buckets << SLOT_BITS) + (places & SLOT_MASK))
            if np.count_nonzero(self.keys.take(ids) == keys) == len(keys):
                return ids, _NONE
        rows = places >> SLOT_BITS
        ids = self._ids.take((buckets[rows] << SLOT_BITS) + (places & SLOT_MASK))
        proven = (self.keys.take(ids) == keys[rows]).nonzero()[0]
        found = np.full(len(keys), -1, np.int32)
        found[rows[proven]] = ids[proven]
        return found, ((found < 0) & (slots[:, SLOTS - 1] != 0)).nonzero()[0]

    def _fill(self, tags: Tags, ids: Int64s, buckets: Int64s) -> None:
        """Write ids and tags, ordered by bucket, into the free slots of their buckets, else of the next ones."""
        tags_flat = self._tags.reshape(-1)
        while len(buckets):
            rows = np.arange(len(buckets))
            first_of_bucket = np.maximum.accumulate(rows * run_starts(buckets))
            slots = self._used.take(buckets) + (rows - first_of_bucket)
            self._used[buckets] = np.minimum(slots + 1, SLOTS)  # the last row of a bucket has the final word
            places = (buckets << SLOT_BITS) + slots
            spilt = (slots >= SLOTS).nonzero()[0]
            if not len(spilt):
                self._ids[places] = ids
                tags_flat[places] = tags
                return
            fits = slots < SLOTS
            self._ids[places[fits]] = ids[fits]
            tags_flat[places[fits]] = tags[fits]
            tags, ids, buckets = tags[spilt], ids[spilt], (buckets[spilt] + 1) & self._last


def _require_int64(keys: Int64s) -> None:
    if keys.dtype != np.int64:
        raise TypeError(f"an index takes int64 keys, not {keys.dtype}")
