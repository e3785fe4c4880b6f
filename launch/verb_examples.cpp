#include "launch/verb_examples.hpp"

#include <map>

namespace scorenet::launch {
namespace {

using Examples = std::vector<std::pair<std::string, std::string>>;

// Three of each, the plainest first. help_test parses them all.
const std::map<std::string, Examples>& all_examples() {
  static const std::map<std::string, Examples> examples = {
      {"",
       {{"scorenet data convert --folder photos/ --out photos.h5", "pictures to a data file"},
        {"scorenet train configs/quickstart.toml --outdir runs/a --data.path photos.h5",
         "train on it; the same command resumes"},
        {"scorenet report runs/a --out a.html", "what came of it, as a page"}}},
      {"train",
       {{"scorenet train configs/quickstart.toml --outdir runs/a --data.path photos.h5",
         "one process; the same command again resumes"},
        {"mpirun -n 4 scorenet train configs/fashion_mnist.toml --outdir runs/b --data.path f.h5 "
         "--train.learning_rate 1e-4",
         "four ranks, one key of the config changed"},
        {"scorenet train configs/quickstart.toml --outdir runs/c --data.path photos.h5 --dry-run",
         "check everything, train nothing"}}},
      {"evaluate",
       {{"scorenet evaluate --network runs/a/snapshots/network-0001000-ema0.999.safetensors "
         "--metrics elbo",
         "the bound on the test split of its own data"},
        {"mpirun -n 4 scorenet evaluate --network a.safetensors --data f.h5 --metrics elbo,ode "
         "--n 1000 --json a.json",
         "two likelihoods of 1,000 examples, on four ranks, as a report"},
        {"scorenet evaluate --network net.pt --convention edm --data f.h5 --metrics elbo,ode",
         "a network from elsewhere: a TorchScript file, and what it expects"}}},
      {"sample",
       {{"scorenet sample --network a.safetensors --seeds 0-63 --grid 8x8 --outdir out",
         "64 samples, and a grid of them"},
        {"mpirun -n 4 scorenet sample --network a.safetensors --seeds 0-9999 --sampler ddim "
         "--steps 50 --save-h5 --outdir out",
         "10,000 as numbers, on four ranks"},
        {"scorenet sample --network a.safetensors --seeds 0-7 --class 3 --guidance 2 --outdir out",
         "of one class, with guidance"}}},
      {"data",
       {{"scorenet data convert --folder photos/ --out photos.h5", "pictures to a data file"},
        {"scorenet data info photos.h5", "what is in a file"},
        {"scorenet data synthesize --kind swiss-roll --out roll.h5", "a set to play with"}}},
      {"data convert",
       {{"scorenet data convert --folder photos/ --out photos.h5",
         "pictures, a folder for each class"},
        {"scorenet data convert --npy images.npy --labels labels.npy --test 1000 --out mine.h5",
         "NumPy arrays, 1,000 held out"},
        {"scorenet data convert --idx /usr/share/datasets/fashion-mnist --out fashion_mnist.h5",
         "files of the MNIST family"}}},
      {"data info",
       {{"scorenet data info fashion_mnist.h5", "what is in a file, and the keys that read it"},
        {"scorenet data info their_file.nc --png some.png", "and some of its samples as a picture"},
        {"scorenet data info --config weather.toml --split validation",
         "what a config makes of its data"}}},
      {"data rechunk",
       {{"scorenet data rechunk f.h5 --out archive.h5 --chunk 512 --gzip 6",
         "smaller, for an archive"},
        {"scorenet data rechunk archive.h5 --out fast.h5", "contiguous: the fastest to read"},
        {"scorenet data rechunk f.h5 --out chunked.h5 --chunk 64 --force",
         "in place of an older chunked.h5"}}},
      {"data synthesize",
       {{"scorenet data synthesize --kind swiss-roll --out roll.h5", "points in the plane"},
        {"scorenet data synthesize --kind swiss-roll --train 3000 --test 3000 --out roll.h5",
         "how many of each split"},
        {"scorenet data synthesize --kind swiss-roll --seed 7 --out roll.h5", "others"}}},
      {"ema",
       {{"scorenet ema reconstruct runs/a/snapshots/*.safetensors --sigma-rel 0.07 --out "
         "a.safetensors",
         "an average of another width, after training"},
        {"scorenet ema reconstruct runs/a/snapshots/*.safetensors --sigma-rel 0.15 --out "
         "wide.safetensors",
         "a wider one"},
        {"scorenet ema reconstruct --help", "what it takes"}}},
      {"ema reconstruct",
       {{"scorenet ema reconstruct runs/a/snapshots/*.safetensors --sigma-rel 0.07 --out "
         "a.safetensors",
         "an average of this relative width"},
        {"scorenet ema reconstruct runs/a/snapshots/*.safetensors --sigma-rel 0.15 --out "
         "wide.safetensors",
         "a wider one"},
        {"scorenet ema reconstruct runs/a/snapshots/*.safetensors --sigma-rel 0.05 --out "
         "narrow.safetensors --force",
         "a narrower one, in place of an older file"}}},
      {"convert",
       {{"scorenet convert from-diffusers ddpm-cifar10-32 --out cifar10.safetensors",
         "a folder of diffusers to a snapshot"},
        {"scorenet convert to-diffusers a.safetensors --outdir unet", "and back"},
        {"scorenet convert to-diffusers --help", "what it takes"}}},
      {"convert from-diffusers",
       {{"scorenet convert from-diffusers ddpm-cifar10-32 --out cifar10.safetensors",
         "a folder of diffusers to a snapshot"},
        {"scorenet convert from-diffusers pipeline/unet --out u.safetensors",
         "the U-Net of a pipeline"},
        {"scorenet convert from-diffusers ddpm-cifar10-32 --out cifar10.safetensors --force",
         "in place of an older file"}}},
      {"convert to-diffusers",
       {{"scorenet convert to-diffusers a.safetensors --outdir unet",
         "a folder that diffusers opens"},
        {"scorenet convert to-diffusers runs/a/snapshots/network-0001000-ema0.999.safetensors "
         "--outdir unet",
         "of a run's moving average"},
        {"scorenet convert to-diffusers a.safetensors --outdir unet --force",
         "in place of an older one"}}},
      {"info",
       {{"scorenet info runs/a/snapshots/network-0001000-ema0.999.safetensors",
         "what a snapshot holds"},
        {"scorenet info config runs/a", "a run's config: what is not at its default"},
        {"scorenet info schedule --diffusion.schedule vp_cosine", "a schedule as a table"}}},
      {"plan",
       {{"mpirun -n 2 scorenet plan configs/quickstart.toml --data.path photos.h5",
         "by the link between the ranks that are here"},
        {"scorenet plan configs/quickstart.toml --shape 3,32,32 --bandwidth 45 --latency 6",
         "by a link that is not here"},
        {"scorenet plan configs/quickstart.toml --shape 3,32,32 --ranks 8,64 --json plan.json",
         "for these counts of ranks, as a report"}}},
      {"timeline",
       {{"scorenet train configs/quickstart.toml --outdir runs/a --data.path photos.h5 "
         "--run.timeline 20",
         "first: a run that traces 20 steps"},
        {"scorenet timeline runs/a/timeline/rank0.json runs/a/timeline/rank1.json --out t.json",
         "one trace, for chrome://tracing or Perfetto"},
        {"scorenet timeline runs/a/timeline/rank0.json --out t.json --force",
         "in place of an older one"}}},
      {"report",
       {{"scorenet report runs/a --out a.html", "a page about a run"},
        {"scorenet report runs/a runs/b --out both.html", "two runs side by side"},
        {"scorenet report runs/a --out a.html --title 'First try' --force",
         "under a title, in place of an older page"}}},
      {"doctor",
       {{"scorenet doctor", "what was built, and what is here"},
        {"mpirun -n 4 scorenet doctor", "a table of all ranks, and a timed all-reduce"},
        {"srun --mpi=pmix scorenet doctor", "the same under Slurm"}}},
      {"completion",
       {{"scorenet completion bash", "prints bash's completion"},
        {"eval \"$(scorenet completion bash)\"", "for this shell"},
        {"scorenet completion bash > ~/.local/share/bash-completion/completions/scorenet",
         "for every shell to come"}}},
      {"man",
       {{"scorenet man --outdir man1", "writes scorenet.1, scorenet-train.1, ..."},
        {"man -l man1/scorenet-train.1", "then: reads one"},
        {"scorenet man --outdir /usr/local/share/man/man1", "where `man scorenet` finds them"}}},
  };
  return examples;
}

}  // namespace

Examples examples_of(const std::string& verb) {
  const auto found = all_examples().find(verb);
  return found == all_examples().end() ? Examples() : found->second;
}

}  // namespace scorenet::launch
