#include "tests/fuzz/seeds.hpp"

#include <webp/encode.h>

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/config/parse.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/diffusers.hpp"
#include "framework/score/snapshot.hpp"
#include "tests/support/npy.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/zip_bytes.hpp"

namespace scorenet::fuzz {
namespace {

namespace fs = std::filesystem;

class Corpus {
 public:
  explicit Corpus(fs::path folder) : folder_(std::move(folder)) {}

  void add(const std::string& target, const std::string& name, const std::string& bytes,
           SeedSource source = SeedSource::here) {
    seeds_.push_back({target, name, source});
    test::write_bytes(folder_ / target / name, bytes);
  }
  /// Where the caller writes a seed.
  std::string place(const std::string& target, const std::string& name,
                    SeedSource source = SeedSource::here) {
    seeds_.push_back({target, name, source});
    fs::create_directories(folder_ / target);
    return folder_ / target / name;
  }
  const fs::path& folder() const { return folder_; }
  const std::vector<Seed>& seeds() const { return seeds_; }

 private:
  fs::path folder_;
  std::vector<Seed> seeds_;
};

void safetensors(Corpus& corpus) {
  const auto x = torch::arange(4);
  checkpoint::write_safetensors(corpus.place("safetensors", "types"),
                                {{"f64", x.to(torch::kFloat64)},
                                 {"f32", x.to(torch::kFloat32)},
                                 {"bf16", x.to(torch::kBFloat16)},
                                 {"i16", x.to(torch::kInt16)},
                                 {"bool", x.to(torch::kBool).view({2, 2})},
                                 {"empty", torch::zeros({0, 3})},
                                 {"scalar", torch::ones({})}},
                                {{"format", "pt"}, {"text", "a \"b\""}});
  checkpoint::write_safetensors(corpus.place("safetensors", "none"), {});
}

void checkpoints(Corpus& corpus) {
  checkpoint::Manifest manifest{12, {}};
  corpus.add("manifest", "no_files", checkpoint::manifest_text(manifest));
  manifest.files["state.json"] = {2, checkpoint::checksum("{}"), {}};
  manifest.files["model.safetensors"] = {
      64, checkpoint::checksum("x"), {{"layer.weight", checkpoint::checksum("y")}}};
  corpus.add("manifest", "two_files", checkpoint::manifest_text(manifest));
  corpus.add("latest", "newest", "0000012\n");
  corpus.add("latest", "older", "0000005");
  corpus.add("latest", "not_there", "0000007\n");
  corpus.add("latest", "long", std::string(30, '9'));
}

void configs(Corpus& corpus) {
  for (const auto& entry : fs::recursive_directory_iterator(SCORENET_CONFIGS)) {
    const std::string name =
        entry.path().parent_path().filename().string() + "_" + entry.path().stem().string();
    if (entry.path().extension() == ".toml" && entry.file_size() < 1500)
      corpus.add("config", name, files::read_file(entry.path()), SeedSource::program);
  }
  corpus.add("config", "every_key", config::to_toml(config::Config()), SeedSource::program);
}

void arrays(Corpus& corpus) {
  const auto idx = [](const std::vector<uint64_t>& shape, size_t values) {
    std::string bytes = std::string("\0\0\x08", 3) + static_cast<char>(shape.size());
    for (const uint64_t size : shape) bytes += test::big_endian(size);
    return bytes + std::string(values, '\x01');
  };
  const std::string files[] = {idx({6, 4, 4}, 96), idx({6}, 6), idx({2, 4, 4}, 32), idx({2}, 2)};
  for (size_t i = 0; i < 4; ++i) {
    const std::string which(1, static_cast<char>(i)), name = "file" + std::to_string(i);
    corpus.add("idx", name, which + files[i]);
    corpus.add("idx", name + "_gz", which + test::gzipped(files[i]), SeedSource::libraries);
  }
  const auto npy = [&](const std::string& name, const std::string& type, const std::string& shape,
                       size_t bytes) {
    corpus.add("npy", name, test::npy(type, "(" + shape + ")", std::string(bytes, '\x01')));
  };
  npy("bytes", "|u1", "4, 3, 2, 2", 48);
  npy("reals", "<f4", "4, 2", 32);
  npy("doubles", "<f8", "4, 2, 2", 128);
  npy("labels", "<i8", "4,", 32);
  npy("halves", "<f2", "4, 2", 16);
  corpus.add("npy", "bytes_gz",
             test::gzipped(test::npy("|u1", "(4, 2, 2)", std::string(16, '\x02'))),
             SeedSource::libraries);
}

std::string png(char bits, char colour, char interlace, size_t row_bytes,
                const std::string& extra) {
  const std::string rows(8 * (row_bytes + 1) + (interlace ? 64 : 0), '\0');
  return test::png_file(
      test::big_endian(16) + test::big_endian(8) + bits + colour + std::string(2, '\0') + interlace,
      rows, extra);
}

std::string jpeg(int components, bool progressive) {
  const auto set = [=](jpeg_compress_struct& state) {
    if (progressive) jpeg_simple_progression(&state);
  };
  const std::string exif("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
                         32);
  return test::jpeg_file(components, set, exif, [&](size_t y) {
    return std::string(static_cast<size_t>(16 * components), static_cast<char>(29 * y));
  });
}

std::string webp(bool lossless) {
  const std::vector<uint8_t> values(16 * 8 * 4, 0x37);
  uint8_t* out = nullptr;
  const size_t size = lossless ? WebPEncodeLosslessRGBA(values.data(), 16, 8, 64, &out)
                               : WebPEncodeRGBA(values.data(), 16, 8, 64, 50, &out);
  std::string bytes(reinterpret_cast<char*>(out), size);
  WebPFree(out);
  return bytes;
}

void pictures(Corpus& corpus) {
  const std::string palette =
      test::png_chunk("PLTE", std::string(48, '\x21')) + test::png_chunk("tRNS", "\x01\x80");
  const std::string more = test::png_chunk("tEXt", std::string("a\0b", 3)) +
                           test::png_chunk("acTL", test::big_endian(2) + test::big_endian(0)) +
                           test::png_chunk("gAMA", test::big_endian(1));
  const auto add = [&](const std::string& name, const std::string& bytes) {
    corpus.add("picture", name, bytes, SeedSource::libraries);
  };
  add("png_grey", png(8, 0, 0, 16, ""));
  add("png_bits", png(1, 0, 1, 2, ""));
  add("png_16", png(16, 2, 0, 96, more));
  add("png_palette", png(4, 3, 0, 8, palette));
  add("png_alpha", png(8, 6, 1, 64, ""));
  add("jpeg_grey", jpeg(1, false));
  add("jpeg_colour", jpeg(3, true));
  add("jpeg_cmyk", jpeg(4, false));
  add("webp_lossless", webp(true));
  add("webp_lossy", webp(false));
}

// A byte before each says what it is (zip.cpp).
void zips(Corpus& corpus) {
  const std::string picture = png(8, 0, 0, 16, ""),
                    labels = R"({"labels": [["a/x.png", 7], ["a/y.png", 0]]})";
  std::vector<test::ZipEntry> entries{
      {"a/x.png", picture}, {"a/y.png", picture}, {"dataset.json", labels}};
  corpus.add("zip", "stored", '\0' + test::zip_file(entries), SeedSource::libraries);
  for (test::ZipEntry& entry : entries) entry.deflate = true;
  corpus.add("zip", "deflated", '\0' + test::zip_file(entries), SeedSource::libraries);
  for (test::ZipEntry& entry : entries) entry.zip64 = true;
  corpus.add("zip", "zip64", '\0' + test::zip_file(entries), SeedSource::libraries);
  corpus.add("zip", "labels", '\x01' + labels);
  corpus.add("zip", "no_labels", "\x01{\"labels\": null}");
  corpus.add("zip", "picture", '\x02' + picture, SeedSource::libraries);
}

void hdf5(Corpus& corpus) {
  auto whole = data::Hdf5File::create(corpus.place("hdf5", "contiguous", SeedSource::libraries));
  whole.write_array("/train/images", torch::arange(96, torch::kUInt8).view({6, 1, 4, 4}));
  whole.write_array("/train/labels", torch::arange(6, torch::kInt64));
  whole.write_strings("/classes", {"a", "b", "c", "d", "e", "f"});
  whole.set_attribute("/", "source", "a test");
  whole.close();
  auto chunks = data::Hdf5File::create(corpus.place("hdf5", "chunks", SeedSource::libraries));
  chunks.write_array("/train/images", torch::arange(12, torch::kFloat32).view({6, 2}), {2, 6});
  chunks.write_array("/validation/images", torch::arange(4, torch::kFloat64).view({2, 2}), {1, 0});
  chunks.close();
}

// Over the files that data_map.cpp makes.
void data_maps(Corpus& corpus) {
  const auto add = [&](const std::string& name, const std::string& text) {
    corpus.add("data_map", name, "[data]\n" + text);
  };
  add("own", "path = \"a.h5\"\nlabels = true\n[model]\nnum_classes = 6\n");
  add("several", "path = [\"a.h5\", \"b.h5\"]\n");
  add("pattern", "path = \"*.h5\"\nsplit = \"validation\"\n");
  add("two_axes",
      "path = \"a.h5\"\narrays = [\"field\"]\nsample_axes = [0, 1]\nchannel_axis = 2\n"
      "window = [\"\", \"0:2\", \"\", \"1:3\", \"\"]\n"
      "splits = { train = \"0:2\", validation = \"2:\" }\n");
  add("last",
      "path = \"a.h5\"\narrays = [\"last\"]\nsample_axes = [2]\nchannel_axis = \"none\"\n"
      "splits = { train = \"0:4\", validation = \"4:6\" }\nlevels = 0\n");
  add("stacked",
      "path = \"a.h5\"\narrays = [\"rows\", \"rows\"]\nreshape = [2, 3]\nchannel_axis = 1\n"
      "splits = { train = [\"0:2\", \"4:\"] }\nmissing = \"nan\"\n");
  add("by_file",
      "arrays = [\"one\"]\nchannel_axis = \"none\"\n"
      "splits = { train = [\"a.h5\"], validation = \"b.h5\" }\n");
  add("told",
      "path = \"a.h5\"\narrays = [\"rows\"]\nsplits = { train = \"0:4\", validation = \"4:\" }\n"
      "transforms = [\"affine(0.5, 2)\", \"log(1)\"]\n[model]\ntype = \"mlp\"\n"
      "[condition.energy]\narray = \"one\"\nkind = \"vector\"\n");
}

// A byte before each says which of a folder's files it is (diffusers.cpp).
void networks(Corpus& corpus) {
  const auto write = [&](const std::string& name, const std::string& model,
                         const std::vector<int64_t>& shape) {
    const auto config = config::parse_text("[model]\n" + model, "here");
    checkpoint::TensorMap tensors;
    for (const auto& [tensor_name, tensor] :
         score::named_parameters(score::build_model(config, shape, torch::kCPU)))
      tensors[tensor_name] = tensor.detach();
    score::write_snapshot(corpus.place("snapshot", name, SeedSource::program), tensors,
                          score::snapshot_metadata(config, shape, {1, "ema0.9"}));
  };
  write("mlp", "type = \"mlp\"\nhidden = [4]\n", {2});
  write("mlp_classes", "type = \"mlp\"\nhidden = [4]\nnum_classes = 2\n[data]\nlabels = true\n",
        {2});
  write("classifier",
        "type = \"classifier\"\nhidden = [4]\nnum_classes = 3\n[data]\nlabels = true\n", {2});
  write("learned", "type = \"mlp\"\nhidden = [4]\n[diffusion]\nschedule = \"vdm_learned\"\n", {2});
  write("dit", "type = \"dit\"\nwidth = 4\ndepth = 1\nheads = 1\npatch_size = 4\n", {1, 8, 8});
  write("unet",
        "channels = [4]\nattention = [false]\nattention_head_dim = 4\nlayers_per_block = 1\n"
        "norm_groups = 2\ntimesteps = 10\n",
        {1, 8, 8});
  const test::TemporaryFolder folder;
  score::snapshot_to_diffusers(corpus.folder() / "snapshot/unet", folder.path());
  corpus.add("diffusers", "network",
             std::string(1, '\0') + files::read_file(folder / "unet/config.json"),
             SeedSource::program);
  corpus.add("diffusers", "scheduler",
             '\x01' + files::read_file(folder / "scheduler/scheduler_config.json"),
             SeedSource::program);
  corpus.add("diffusers", "scheduler_ddim",
             "\x01{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 10, "
             "\"beta_schedule\": \"squaredcos_cap_v2\", \"prediction_type\": \"v_prediction\", "
             "\"clip_sample\": true, \"steps_offset\": 1}");
  corpus.add("diffusers", "scheduler_betas",
             "\x01{\"_class_name\": \"DDPMScheduler\", \"num_train_timesteps\": 3, "
             "\"trained_betas\": [0.1, 0.2, 0.3], \"variance_type\": \"fixed_small\"}");
  corpus.add("diffusers", "pipeline",
             "\x02{\"_class_name\": \"DDPMPipeline\", \"unet\": [\"diffusers\", \"UNet2DModel\"], "
             "\"vae\": [null, null]}");
  corpus.add("diffusers", "index",
             "\x03{\"metadata\": {\"total_size\": 4}, \"weight_map\": {\"conv_in.weight\": "
             "\"diffusion_pytorch_model-00001-of-00001.safetensors\"}}");
}

}  // namespace

std::vector<Seed> write_seeds(const std::filesystem::path& folder) {
  Corpus corpus(folder);
  safetensors(corpus);
  checkpoints(corpus);
  configs(corpus);
  arrays(corpus);
  pictures(corpus);
  zips(corpus);
  hdf5(corpus);
  data_maps(corpus);
  networks(corpus);
  return corpus.seeds();
}

}  // namespace scorenet::fuzz
