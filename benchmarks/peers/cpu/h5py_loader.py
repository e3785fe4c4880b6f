"""Images a second of h5py in a PyTorch DataLoader: shuffled batches of 128 of the data set
train/images (3 x 32 x 32 bytes each, contiguous, in a temporary file), in one process.

    python3 h5py_loader.py IMAGES [--workers N]
"""

import argparse
import json
import tempfile
import time

import h5py
import torch


class Images(torch.utils.data.Dataset):
    def __init__(self, path):
        self.path, self.images = path, None
        with h5py.File(path) as file:
            self.count = len(file["train/images"])

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.images is None:  # a worker opens its own
            self.images = h5py.File(self.path)["train/images"]
        return torch.from_numpy(self.images[index])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=int)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        with h5py.File(file.name, "w") as written:
            written["train/images"] = torch.randint(
                0, 256, (options.images, 3, 32, 32), dtype=torch.uint8
            ).numpy()
        print(json.dumps({"images_per_s": round(median_rate(file.name, options.workers), 1)}))


def median_rate(path, workers):
    loader = torch.utils.data.DataLoader(
        Images(path), batch_size=128, shuffle=True, num_workers=workers
    )
    rates = []
    for _ in range(3):
        start, count = time.perf_counter(), 0
        for batch in loader:
            count += len(batch.float())
        rates.append(count / (time.perf_counter() - start))
    return sorted(rates)[1]


if __name__ == "__main__":
    main()
