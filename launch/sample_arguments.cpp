#include "launch/sample_arguments.hpp"

#include "framework/core/error.hpp"
#include "framework/data/data_map.hpp"
#include "launch/hbar_schedule.hpp"
#include "launch/numbers.hpp"
#include "launch/output_options.hpp"

namespace scorenet::launch {
namespace {

void add_outputs(CLI::App* verb, SampleArguments& a) {
  verb->add_option(
      "--grid", a.grid,
      "one picture COLUMNSxROWS instead of one per seed; without --save-h5 only the seeds that it "
      "shows are drawn");
  verb->add_option(
          "--grid-channels", a.grid_channels,
          "one channel or three, a,b,c, to show in pictures, counted from 0 [of 1 or 3 channels "
          "all; else each channel has a tile]")
      ->delimiter(',');
  add_output_option(
      verb, "--outdir", a.outdir,
      "folder for the results of one job at a time; older grid.png, seed-*.png and samples.h5 "
      "there are replaced");
  verb->add_option(
      "--like", a.like,
      "write one file that has the data set names, axis order, type, attributes and compression "
      "of this file, which the model was trained on; needs --out");
  add_output_option(
      verb, "--out", a.out,
      "--like: HDF5 file to write, in the order of the seeds; a killed draw continues from "
      "OUT.parts beside it");
  verb->add_flag("--force", a.force,
                 "replace --out if it exists; the files of --outdir are always replaced");
  verb->add_flag(
      "--save-h5", a.save_h5,
      "write samples.h5: samples (N, ...) float64 in seed order, in [-1, 1] for discrete "
      "data, else in the data's units");
  verb->add_flag(
      "--trajectory", a.sampler.keep_path,
      "samplers with one network evaluation per step: store also all states, path (N, steps + 1, "
      "...), and their times, path_t, from t_max, in samples.h5");
}

}  // namespace

void add_sample_options(CLI::App* verb, SampleArguments& a) {
  add_model_options(verb, a.model);
  verb->add_option("--seeds", a.seeds, "seeds, such as 0-63,100; a sample depends only on its seed")
      ->capture_default_str();
  add_draw_options(verb, a);
  add_hbar_schedule_option(verb, a.hbar_schedule);
  verb->add_option(
          "--condition", a.told.file,
          "file in the layout that the model was trained on: row i holds the conditions of sample "
          "i; without --seeds one sample is drawn per row. --condition.NAME v1,v2 gives all "
          "samples the same condition")
      ->check(CLI::ExistingFile);
  verb->add_option("--batch", a.batch, "samples computed at once")
      ->check(positive_number())
      ->capture_default_str();
  add_outputs(verb, a);
}

void check_form(const SampleArguments& a) {
  if (a.like.empty() != a.out.empty()) {
    throw ConfigError(a.like.empty()
                          ? "--out " + a.out + ": needs --like FILE, whose layout it takes."
                          : "--like " + a.like + ": needs --out OUT.h5.");
  }
  if (a.like.empty() == a.outdir.empty()) {
    throw ConfigError(a.like.empty()
                          ? "no output: give --outdir DIR, or --like FILE with --out OUT.h5."
                          : "--outdir " + a.outdir +
                                " with --like: these are two forms of output. Choose one.");
  }
  if (data::is_npy(a.like) != data::is_npy(a.out)) {
    throw ConfigError("--out " + a.out + " with --like " + a.like +
                      ": only one of them is a .npy file. Give both files the same format.");
  }
  const bool of_folder = a.save_h5 || a.sampler.keep_path || !a.grid.empty();
  if (!a.like.empty() && (of_folder || a.corrector_norms == "batch")) {
    throw ConfigError(
        "--like: cannot be used with --grid, --save-h5, --trajectory or --corrector-norms batch. "
        "Leave them out, or use --outdir.");
  }
}

}  // namespace scorenet::launch
