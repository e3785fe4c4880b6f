// scorenet data: make data files, look into them, store them differently. Rank zero works, alone.
//
//   scorenet data convert --idx /usr/share/datasets/fashion-mnist --out fashion_mnist.h5
//   scorenet data convert --zip cifar10-32x32.zip --out cifar10.h5
//   scorenet data convert --npy images.npy --labels labels.npy --test 1000 --out mine.h5
//   scorenet data info fashion_mnist.h5
//   scorenet data info their_file.nc --png some.png
//   scorenet data info --config weather.toml --split validation
//   scorenet data rechunk fashion_mnist.h5 --out archive.h5 --chunk 512 --gzip 6
//   scorenet data synthesize --kind swiss-roll --train 3000 --test 3000 --out swiss_roll.h5
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/config/parse.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/describe.hpp"
#include "framework/data/file_tree.hpp"
#include "framework/data/propose_map.hpp"
#include "framework/data/twins.hpp"
#include "framework/files/output_guard.hpp"
#include "launch/data_arguments.hpp"
#include "launch/numbers.hpp"
#include "launch/output_options.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

namespace fs = std::filesystem;

// What the command line fills in; shared by the options and the action that runs after parsing.
struct DataArguments {
  data::ConvertOptions options;
  fs::path idx, cifar10, folder, zip, npy, labels;
  data::ChannelAxis channels = data::ChannelAxis::unsaid;
  fs::path in;
  data::TwinOptions twin;  // its kind and seed are any set's
  std::map<std::string, int64_t> sizes;
};
using Arguments = std::shared_ptr<DataArguments>;

template <typename Work>
void set_action(CLI::App* verb, Task& task, Work work) {
  verb->callback([&task, work] {
    task.action = [work](comm::Communicators& comms) {
      if (comms.host->rank() == 0) work();
      return ExitCode::done;
    };
  });
}

void say_file(const fs::path& path) { std::printf("%s", data::describe_file(path).c_str()); }

// What a user should know of the conversion, once and last.
void say_written(const fs::path& path, const std::vector<std::string>& notes) {
  say_file(path);
  for (const auto& note : notes) std::printf("note: %s\n", note.c_str());
}

// Before the work: the source is not overwritten, an older file only when that was asked for.
void check_output(const data::ConvertOptions& options,
                  const std::vector<files::NamedPath>& inputs) {
  files::check_outputs(inputs, {{"--out", options.out, options.overwrite, false}});
}

void add_output_options(CLI::App* verb, const Arguments& arguments) {
  auto& options = arguments->options;
  verb->add_option("--out", options.out, "HDF5 file to write; appears only when complete")
      ->required();
  verb->add_flag("--force", options.overwrite, "overwrite --out if it exists");
  verb->add_option("--chunk", options.storage.chunk_rows,
                   "samples per chunk; 0: contiguous, the fastest to read")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  verb->add_option("--gzip", options.storage.gzip_level,
                   "compression level, 0: none; needs --chunk")
      ->check(CLI::Range(0, 9))
      ->capture_default_str();
}

void convert(DataArguments& arguments) {
  const auto& options = arguments.options;
  if (options.test > 0 && (!arguments.idx.empty() || !arguments.cifar10.empty())) {
    throw ConfigError("--test " + std::to_string(options.test) +
                      ": the source has its own test file. Leave --test out.");
  }
  check_output(options, {{"--idx", arguments.idx},
                         {"--cifar10", arguments.cifar10},
                         {"--folder", arguments.folder},
                         {"--zip", arguments.zip},
                         {"--npy", arguments.npy},
                         {"--labels", arguments.labels}});
  std::vector<std::string> notes;
  if (!arguments.idx.empty()) notes = data::convert_idx(arguments.idx, options);
  if (!arguments.cifar10.empty()) notes = data::convert_cifar10(arguments.cifar10, options);
  if (!arguments.folder.empty()) notes = data::convert_folder(arguments.folder, options);
  if (!arguments.zip.empty()) notes = data::convert_zip(arguments.zip, options);
  if (!arguments.npy.empty()) {
    notes = data::convert_npy(arguments.npy, arguments.labels, arguments.channels, options);
  }
  say_written(options.out, notes);
}

void add_channel_flags(CLI::App* verb, CLI::Option* npy, const Arguments& arguments) {
  auto* last = verb->add_flag_callback(
      "--channels-last", [arguments] { arguments->channels = data::ChannelAxis::last; },
      "the array is (N, H, W, C)");
  auto* first = verb->add_flag_callback(
      "--channels-first", [arguments] { arguments->channels = data::ChannelAxis::first; },
      "the array is (N, C, H, W), whatever its sizes look like");
  last->needs(npy);
  first->needs(npy)->excludes(last);
}

void add_convert(CLI::App* data_verb, Task& task) {
  auto* verb = data_verb->add_subcommand(
      "convert", "convert published data sets, image folders or arrays to HDF5");
  const auto arguments = std::make_shared<DataArguments>();
  auto* source = verb->add_option_group("source", "exactly one of these");
  source->add_option("--idx", arguments->idx,
                     "folder with the four IDX files of the MNIST family, plain or .gz");
  source->add_option("--cifar10", arguments->cifar10, "folder with CIFAR-10's binary version");
  auto* folder = source->add_option(
      "--folder", arguments->folder,
      "PNG, JPEG or WebP: FOLDER/CLASS/..., FOLDER/train|val|test/CLASS/..., or FOLDER/*.png "
      "without classes; what is left out or changed is reported");
  source->add_option("--zip", arguments->zip,
                     "zip file of pictures with dataset.json, as EDM's dataset_tool.py writes it");
  auto* npy =
      source->add_option("--npy", arguments->npy,
                         "NumPy array: uint8 images, or float32/float64 of any shape (N, ...)");
  source->require_option(1);
  verb->add_option("--labels", arguments->labels, "NumPy array of integers (N)")->needs(npy);
  add_channel_flags(verb, npy, arguments);
  const std::map<std::string, data::FolderLayout> layouts{{"auto", data::FolderLayout::automatic},
                                                          {"classes", data::FolderLayout::classes},
                                                          {"splits", data::FolderLayout::splits}};
  verb->add_option_function<std::string>(
          "--layout",
          [arguments, layouts](const std::string& name) {
            arguments->options.layout = layouts.at(name);
          },
          "what the folders in --folder are; auto: their content decides")
      ->check(CLI::IsMember(layouts))
      ->needs(folder);
  verb->add_option_function<int64_t>(
          "--validation", [arguments](int64_t n) { arguments->options.validation = n; },
          "samples held out of the training data; 0: none [a tenth, at most 5000, where the "
          "source has no such split]")
      ->check(non_negative_number());
  verb->add_option("--test", arguments->options.test,
                   "samples held out for testing, for --folder, --zip and --npy; 0: none")
      ->check(non_negative_number())
      ->capture_default_str();
  add_output_options(verb, arguments);
  set_action(verb, task, [arguments] { convert(*arguments); });
}

struct InfoArguments {
  std::vector<std::string> files;
  std::string config, split, picture;
  std::vector<std::string> said_of_map;
  int64_t samples = 16;
  bool force = false;
};

// What the command line says of the config's map, or of the own layout.
config::Config config_of(const InfoArguments& a) {
  config::Config config;
  if (!a.config.empty()) config = config::parse_file(a.config);
  config::apply_overrides(config, a.said_of_map);
  if (!a.files.empty()) config.data.map.path = a.files;
  if (config.data.map.path.empty())
    throw ConfigError("data info: no file is given. Give FILE, or --config with a data.path.");
  return config;
}

void say_info(const InfoArguments& a) {
  const config::Config config = config_of(a);
  data::DataMap map = config.data.map;
  const auto inputs = data_files(map);
  if (!a.picture.empty()) files::check_outputs(inputs, {{"--png", a.picture, a.force}});
  data::DescribeOptions options;
  options.split = a.split;
  options.levels = config.data.levels;
  if (!config.data.missing.empty()) options.missing = std::stod(config.data.missing);
  const bool one = map.path.size() == 1 && inputs.size() == 1;
  if (one && a.split.empty() && data::is_own_layout(map)) {
    say_file(map.path[0]);
    // A picture of a file that is described by nothing is one of what it was taken for.
    if (!a.picture.empty() && !data::has_own_layout(map.path[0])) {
      if (const auto proposed = data::propose_map(map.path[0], data::tree_of(map.path[0])))
        map = proposed->map;
    }
  } else {
    std::printf("%s", data::describe_map(map, options).c_str());
  }
  if (!a.picture.empty()) data::draw_samples(map, options, a.samples, a.picture);
}

void add_info(CLI::App* data_verb, Task& task) {
  auto* verb = data_verb->add_subcommand(
      "info",
      "describe data files and the samples that the keys of [data] make of them; for a file of "
      "another program: its arrays, and keys to start from");
  const auto arguments = std::make_shared<InfoArguments>();
  verb->add_option("file", arguments->files, "HDF5, netCDF-4 or .npy files, or a pattern");
  verb->add_option("--config", arguments->config,
                   "config (TOML) whose [data] section describes the files");
  verb->add_option("--split", arguments->split, "only this split [all that are named]");
  add_map_options(verb, arguments->said_of_map, {"data.levels", "data.missing"});
  add_output_option(verb, "--png", arguments->picture,
                    "write a picture of some samples there: images, curves, or slices of volumes");
  verb->add_option("--samples", arguments->samples, "how many samples the picture shows")
      ->check(CLI::Range(int64_t{1}, int64_t{1024}))
      ->capture_default_str();
  add_force_flag(verb, arguments->force);
  set_action(verb, task, [arguments] { say_info(*arguments); });
}

void add_rechunk(CLI::App* data_verb, Task& task) {
  auto* verb = data_verb->add_subcommand("rechunk", "store the same data differently");
  const auto arguments = std::make_shared<DataArguments>();
  verb->add_option("file", arguments->in, "HDF5 file to read")->required();
  add_output_options(verb, arguments);
  set_action(verb, task, [arguments] {
    check_output(arguments->options, {{"the file to read", arguments->in}});
    say_written(arguments->options.out, data::rechunk(arguments->in, arguments->options));
  });
}

void synthesize(const DataArguments& arguments) {
  const data::ConvertOptions& options = arguments.options;
  const auto twins = data::twin_names();
  check_output(options, {});
  if (std::find(twins.begin(), twins.end(), arguments.twin.kind) != twins.end()) {
    if (!arguments.sizes.empty())
      throw ConfigError("data synthesize --kind " + arguments.twin.kind +
                        ": this layout has no groups of splits. Give --samples N instead of " +
                        "--" + arguments.sizes.begin()->first + ".");
    const auto notes = data::write_twin(arguments.twin, options);
    say_written(options.out, notes);
    return;
  }
  if (arguments.sizes.empty()) {
    throw ConfigError(
        "data synthesize: no split asked for. Give --train N, --validation N or --test N.");
  }
  data::synthesize(arguments.twin.kind, arguments.sizes, arguments.twin.seed, options);
  say_file(options.out);
}

void add_synthesize(CLI::App* data_verb, Task& task) {
  auto* verb = data_verb->add_subcommand(
      "synthesize",
      "make two-dimensional data of a known distribution, or small files in the layout of "
      "published data");
  const auto arguments = std::make_shared<DataArguments>();
  verb->add_option(
          "--kind", arguments->twin.kind,
          "swiss-roll | gaussians25 | gaussian; or the layout of calo (CaloChallenge) | well (The "
          "Well) | weather | cmd (CAMELS, .npy) | nhwc")
      ->required();
  for (const std::string split : {"train", "validation", "test"}) {
    verb->add_option_function<int64_t>(
            "--" + split, [arguments, split](int64_t n) { arguments->sizes[split] = n; },
            "samples of this split")
        ->check(positive_number());
  }
  verb->add_option("--samples", arguments->twin.samples,
                   "layouts: number of samples, or of trajectories of well")
      ->check(positive_number());
  verb->add_option(
          "--shape", arguments->twin.shape,
          "layouts: shape of a sample: layers,angles,radii of calo; steps,x,y of well; "
          "channels,lat,lon of weather; height,width of cmd and nhwc [the published one, or small]")
      ->delimiter(',');
  verb->add_option("--seed", arguments->twin.seed, "seed of all random numbers")
      ->capture_default_str();
  add_output_options(verb, arguments);
  set_action(verb, task, [arguments] { synthesize(*arguments); });
}

}  // namespace

void add_data_verb(CLI::App& app, Task& task) {
  auto* verb = app.add_subcommand("data", "make and inspect HDF5 data files");
  verb->require_subcommand(1);
  add_convert(verb, task);
  add_info(verb, task);
  add_rechunk(verb, task);
  add_synthesize(verb, task);
}

}  // namespace scorenet::launch
