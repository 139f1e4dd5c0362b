"""Damaged and odd inputs for all readers of users' and own files: `python tests/data/fuzz_all.py [COUNT [SEED]]`."""

import sys

import fuzz
import fuzz_own

if __name__ == "__main__":
    ends, wrong = fuzz.fuzz(
        *(int(word) for word in sys.argv[1:3] or ["10000"]), readers=fuzz.READERS + fuzz_own.READERS
    )
    for (name, end), times in sorted(ends.items()):
        print(f"{name:18}{end:24}{times:6}")
    print("\n".join(wrong[:20]))
    print(f"{sum(ends.values())} inputs, {len(wrong)} ended wrongly")
    sys.exit(bool(wrong))
