"""A tree of files, the same at every call: `tree.py DIRECTORY FILES LARGE MIB` makes below DIRECTORY, in `small`, FILES files of 64 B to
16 KiB (log-uniform), and in `large` LARGE files of MIB MiB."""

import math
import os
import random
import sys

work, files, large, mib = sys.argv[1], *map(int, sys.argv[2:])
chance = random.Random(1)
block = chance.randbytes(1 << 20)
os.mkdir(f"{work}/small")
for number in range(files):
    directory = f"{work}/small/{number // 1000 // 32:03}/{number // 1000:05}"
    if number % 1000 == 0:
        os.makedirs(directory)
    size = int(64 * math.exp(chance.random() * math.log(256)))
    start = chance.randrange(len(block) - size)
    with open(f"{directory}/{number:08}.dat", "wb") as file:
        file.write(block[start : start + size])
os.mkdir(f"{work}/large")
for number in range(large):
    with open(f"{work}/large/{number}.dat", "wb") as file:
        for piece in range(mib):
            file.write(number.to_bytes(4, "big") + piece.to_bytes(4, "big") + block[8:])
