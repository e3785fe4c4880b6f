#include "framework/data/twins.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/core/stop_signal.hpp"
#include "framework/data/data_map.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/output_guard.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kRowsAtOnce = 256;

struct Twin {
  TwinOptions options;
  ConvertOptions output;
};

// Draws for samples [first, first + n): the same whatever else is drawn with them.
torch::Tensor normal(const Twin& twin, uint64_t what, int64_t first, int64_t n,
                     const std::vector<int64_t>& shape) {
  // Apart from the draws of `synthesize`, which takes the lowest numbers.
  return normal_for_slots({twin.options.seed, RandomStream::synthetic_data, 100 + what},
                          slot_range(first, n), shape, torch::kFloat64);
}
torch::Tensor uniform(const Twin& twin, uint64_t what, int64_t first, int64_t n,
                      const std::vector<int64_t>& shape) {
  return uniform_for_slots({twin.options.seed, RandomStream::synthetic_data, 100 + what},
                           slot_range(first, n), shape, torch::kFloat64);
}

// Calls work(first, count) for all samples, a few at a time.
void for_parts(int64_t samples, const std::function<void(int64_t, int64_t)>& work) {
  for (int64_t first = 0; first < samples; first += kRowsAtOnce) {
    throw_if_stop_asked();
    work(first, std::min(kRowsAtOnce, samples - first));
  }
}

// An HDF5 file that appears whole or not at all.
void write_whole(const ConvertOptions& output, const std::function<void(Hdf5File&)>& write) {
  try {
    files::ReplacingFile whole(output.out);
    Hdf5File file = Hdf5File::create(whole.path().string());
    write(file);
    file.close();
    whole.commit();
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  }
}

// Distances of FFT frequencies from zero, in cycles: 0, 1, ..., 2, 1.
torch::Tensor cycles(int64_t size) {
  const auto k = torch::arange(size, torch::kFloat64);
  return torch::minimum(k, static_cast<double>(size) - k);
}

// Gaussian fields of this spectrum from white noise of the same shape (..., H, W).
torch::Tensor coloured(const torch::Tensor& white, const torch::Tensor& spectrum) {
  return at::real(at::fft_ifft2(at::fft_fft2(white) * spectrum.sqrt()));
}

std::vector<int64_t> shape_or(const Twin& twin, std::vector<int64_t> usual) {
  return twin.options.shape.empty() ? usual : twin.options.shape;
}

// Depth and radius of a shower, as fractions of its energy: (n, L, A, R).
torch::Tensor shower_profile(const torch::Tensor& energy, const torch::Tensor& depth_noise,
                             const torch::Tensor& angle, const std::vector<int64_t>& shape) {
  constexpr double kCriticalMev = 10, kLayerLengths = 0.7, kFall = 0.5, kMoliere = 2.0;
  const auto peak = (energy / kCriticalMev).log() - 0.5 + 0.3 * depth_noise;  // radiation lengths
  const auto t = (torch::arange(shape[0], torch::kFloat64) + 0.5) * kLayerLengths;
  const auto power = (kFall * peak).clamp_min(0.2).view({-1, 1});
  auto depth = (power * t.log() - kFall * t).exp();
  depth = depth / depth.sum(1, true);
  const auto r = torch::arange(shape[2], torch::kFloat64) + 0.5;
  auto radius = r * (-r / kMoliere).exp();  // the ring's area and the density
  radius = radius / radius.sum();
  const auto phi = torch::arange(shape[1], torch::kFloat64) *
                   (2 * std::numbers::pi / static_cast<double>(shape[1]));
  auto around = 1 + 0.3 * (phi - angle.view({-1, 1})).cos();
  around = around / around.sum(1, true);
  return depth.view({-1, shape[0], 1, 1}) * around.view({-1, 1, shape[1], 1}) *
         radius.view({1, 1, 1, shape[2]});
}

std::vector<std::string> write_calo(const Twin& twin) {
  constexpr double kThresholdMev = 0.0151;  // below it a voxel reads zero
  const auto shape = shape_or(twin, {45, 16, 9});
  const int64_t n = twin.options.samples, voxels = shape[0] * shape[1] * shape[2];
  Hdf5Storage storage = twin.output.storage;
  if (storage.chunk_rows == 0) storage = {std::min<int64_t>(n, 64), 4};
  write_whole(twin.output, [&](Hdf5File& file) {
    auto showers = file.create_array("/showers", {n, voxels}, torch::kFloat32, storage);
    auto energies = file.create_array("/incident_energies", {n, 1}, torch::kFloat32, storage);
    for_parts(n, [&](int64_t first, int64_t count) {
      // 1 GeV to 1 TeV, uniform in the logarithm.
      const auto energy = torch::pow(10, 3 + 3 * uniform(twin, 0, first, count, {}));
      const auto profile =
          shower_profile(energy, normal(twin, 1, first, count, {}),
                         2 * std::numbers::pi * uniform(twin, 2, first, count, {}), shape);
      const auto fluctuation =
          (0.5 * normal(twin, 3, first, count, shape) - 0.125).exp();  // of mean one
      auto mev = 0.9 * energy.view({-1, 1, 1, 1}) * profile * fluctuation;
      mev = torch::where(mev > kThresholdMev, mev, 0);
      showers.write_rows(first, mev.view({count, voxels}).to(torch::kFloat32));
      energies.write_rows(first, energy.view({count, 1}).to(torch::kFloat32));
    });
  });
  return {};
}

// A mode of wave number k after time t: carried by the wind and damped, exp(-nu k^2 t - i k c t).
torch::Tensor carried(const torch::Tensor& start, const torch::Tensor& wind, int64_t steps) {
  constexpr double kSpread = 2e-4, kTimeStep = 0.05;
  const int64_t height = start.size(1), width = start.size(2);
  const auto k_x = at::fft_fftfreq(height, 1.0 / static_cast<double>(height), torch::kFloat64);
  const auto k_y = at::fft_fftfreq(width, 1.0 / static_cast<double>(width), torch::kFloat64);
  const auto two_pi = 2 * std::numbers::pi;
  const auto square = two_pi * two_pi * (k_x.square().view({-1, 1}) + k_y.square().view({1, -1}));
  const auto along = two_pi * (wind.select(1, 0).view({-1, 1, 1}) * k_x.view({1, -1, 1}) +
                               wind.select(1, 1).view({-1, 1, 1}) * k_y.view({1, 1, -1}));
  const auto modes = at::fft_fft2(start);
  std::vector<torch::Tensor> fields;
  for (int64_t step = 0; step < steps; ++step) {
    const double t = kTimeStep * static_cast<double>(step);
    const auto phase = -along * t;
    fields.push_back(at::real(at::fft_ifft2(modes * (-kSpread * t * square).exp() *
                                            at::complex(phase.cos(), phase.sin()))));
  }
  return torch::stack(fields, 1);
}

std::vector<std::string> write_well(const Twin& twin) {
  const auto shape = shape_or(twin, {16, 32, 32});
  const int64_t n = twin.options.samples;
  const auto spectrum = power_spectrum(shape[1], shape[2], 0.5, 1.5);
  write_whole(twin.output, [&](Hdf5File& file) {
    auto tracer = file.create_array("/t0_fields/tracer", {n, shape[0], shape[1], shape[2]},
                                    torch::kFloat32, twin.output.storage);
    for_parts(n, [&](int64_t first, int64_t count) {
      const auto start = coloured(normal(twin, 0, first, count, {shape[1], shape[2]}), spectrum);
      const auto wind = normal(twin, 1, first, count, {2}) * 0.3;
      tracer.write_rows(first, carried(start, wind, shape[0]).to(torch::kFloat32));
    });
    const auto axis = [](int64_t size) {
      return (torch::arange(size, torch::kFloat64) / static_cast<double>(size)).to(torch::kFloat32);
    };
    file.write_array("/dimensions/time", torch::arange(shape[0], torch::kFloat64) * 0.05);
    file.write_array("/dimensions/x", axis(shape[1]));
    file.write_array("/dimensions/y", axis(shape[2]));
    file.write_array("/scalars/diffusivity", torch::full({1}, 2e-4, torch::kFloat64));
    file.write_array("/boundary_conditions/x_periodic/mask", torch::ones({2}, torch::kUInt8));
    file.write_array("/boundary_conditions/y_periodic/mask", torch::ones({2}, torch::kUInt8));
    file.set_attribute("/", "dataset_name", "twin of The Well: a tracer in a constant wind");
    for (const char* varies : {"sample_varying", "time_varying"})
      file.set_attribute("/t0_fields/tracer", varies, "true");
  });
  return {};
}

std::vector<std::string> write_weather(const Twin& twin) {
  const auto shape = shape_or(twin, {4, 32, 64});
  const int64_t n = twin.options.samples, channels = shape[0];
  const auto spectrum = power_spectrum(shape[1], shape[2], 0.5, 1.5);
  // As different as temperature, two winds and geopotential: K, m/s, m/s, m^2/s^2, over again.
  const auto means = torch::tensor({280.0, 0.5, -0.2, 54000.0}).repeat({(channels + 3) / 4});
  const auto deviations = torch::tensor({12.0, 5.0, 4.0, 3000.0}).repeat({(channels + 3) / 4});
  const auto mean = means.narrow(0, 0, channels).to(torch::kFloat64);
  const auto deviation = deviations.narrow(0, 0, channels).to(torch::kFloat64);
  write_whole(twin.output, [&](Hdf5File& file) {
    auto fields = file.create_array("/fields", {n, channels, shape[1], shape[2]}, torch::kFloat32,
                                    twin.output.storage);
    for_parts(n, [&](int64_t first, int64_t count) {
      // An hour is told from its own noise and that of the hour before: 0.8^2 + 0.6^2 = 1.
      const auto noise = normal(twin, 0, first, count + 1, shape);
      const auto white = 0.8 * noise.slice(0, 1) + 0.6 * noise.slice(0, 0, count);
      const auto field = coloured(white, spectrum);
      fields.write_rows(
          first, (mean.view({-1, 1, 1}) + deviation.view({-1, 1, 1}) * field).to(torch::kFloat32));
    });
    file.write_array("/means", mean);
    file.write_array("/deviations", deviation);
    file.write_array("/spectrum", spectrum);
  });
  return {};
}

// NumPy's version 1.0, the whole file at once.
void write_npy(const std::filesystem::path& path, const torch::Tensor& values) {
  std::string sizes;
  for (const int64_t size : values.sizes()) sizes += std::to_string(size) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + sizes + "), }";
  header.resize((header.size() + 10 + 64) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string bytes = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() % 256) +
                      static_cast<char>(header.size() / 256) + header;
  const auto held = values.to(torch::kFloat32).contiguous();
  bytes.append(static_cast<const char*>(held.const_data_ptr()), held.nbytes());
  try {
    files::write_file_atomically(path, bytes);
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  }
}

// Omega_m, sigma_8 and four numbers of feedback, of which the first two shape the field.
torch::Tensor cosmology(const Twin& twin, int64_t n) {
  const auto u = uniform(twin, 0, 0, n, {6});
  const auto low = torch::tensor({0.1, 0.6, 0.25, 0.25, 0.5, 0.5}, torch::kFloat64);
  const auto high = torch::tensor({0.5, 1.0, 4.0, 4.0, 2.0, 2.0}, torch::kFloat64);
  return low + (high - low) * u;
}

std::vector<std::string> write_cmd(const Twin& twin) {
  if (!is_npy(twin.output.out.string()))
    throw ConfigError("--out " + twin.output.out.string() + ": expected NAME.npy for --kind cmd.");
  const auto shape = shape_or(twin, {64, 64});
  const int64_t n = twin.options.samples;
  const auto parameters = cosmology(twin, n);
  std::vector<torch::Tensor> maps;
  for_parts(n, [&](int64_t first, int64_t count) {
    const auto white = normal(twin, 1, first, count, shape);
    for (int64_t i = 0; i < count; ++i) {
      const auto omega = parameters[first + i][0].item<double>();
      const auto sigma = parameters[first + i][1].item<double>();
      const auto field = coloured(white[i], power_spectrum(shape[0], shape[1], 0.2, 1 + 2 * omega));
      // Log-normal, of mean 1e10 solar masses a pixel.
      maps.push_back(
          (1e10 * (1.5 * sigma * field - 1.125 * sigma * sigma).exp()).to(torch::kFloat32));
    }
  });
  auto beside = twin.output.out;
  beside.replace_filename(beside.stem().string() + "_parameters.npy");
  if (!twin.output.overwrite && std::filesystem::exists(beside))
    throw DataError(beside.string() +
                    ": exists already. Choose another name, or overwrite it with --force.");
  write_npy(beside, parameters);
  write_npy(twin.output.out, torch::stack(maps));
  return {"the parameters are in " + beside.string()};
}

std::vector<std::string> write_nhwc(const Twin& twin) {
  const auto shape = shape_or(twin, {32, 32});
  const int64_t n = twin.options.samples;
  const auto spectrum = power_spectrum(shape[0], shape[1], 0.4, 2);
  const auto tints = torch::tensor({1.0, 0.2, 0.2, 0.2, 1.0, 0.2, 0.2, 0.2, 1.0}).view({3, 3});
  write_whole(twin.output, [&](Hdf5File& file) {
    auto images = file.create_array("/images", {n, shape[0], shape[1], 3}, torch::kUInt8,
                                    twin.output.storage);
    auto labels = file.create_array("/labels", {n}, torch::kInt64);
    for_parts(n, [&](int64_t first, int64_t count) {
      const auto which = torch::arange(first, first + count).remainder(3);
      const auto field =
          coloured(normal(twin, 0, first, count, {shape[0], shape[1]}), spectrum).unsqueeze(-1);
      const auto tint = tints.to(torch::kFloat64).index_select(0, which).view({count, 1, 1, 3});
      images.write_rows(first, (128 + 60 * field * tint).round().clamp(0, 255).to(torch::kUInt8));
      labels.write_rows(first, which);
    });
  });
  return {};
}

struct Kind {
  const char* name;
  size_t axes;  // of options.shape
  std::vector<std::string> (*write)(const Twin&);
};
constexpr Kind kKinds[] = {{"calo", 3, write_calo},
                           {"well", 3, write_well},
                           {"weather", 3, write_weather},
                           {"cmd", 2, write_cmd},
                           {"nhwc", 2, write_nhwc}};

}  // namespace

std::vector<std::string> twin_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

torch::Tensor power_spectrum(int64_t height, int64_t width, double scale, double slope) {
  const auto square = cycles(height).square().view({-1, 1}) + cycles(width).square().view({1, -1});
  const auto power = (1 + scale * scale * square).pow(-slope);
  return power / power.mean();
}

std::vector<std::string> write_twin(const TwinOptions& twin, const ConvertOptions& options) {
  const auto kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                 [&](const Kind& one) { return twin.kind == one.name; });
  if (kind == std::end(kKinds))
    throw ConfigError("--kind " + twin.kind + ": expected one of the twins.");
  if (twin.samples < 1)
    throw ConfigError("--samples " + std::to_string(twin.samples) +
                      ": expected at least 1 for --kind " + twin.kind + ".");
  const bool sound = twin.shape.empty() || twin.shape.size() == kind->axes;
  if (!sound || std::any_of(twin.shape.begin(), twin.shape.end(), [](int64_t s) { return s < 1; }))
    throw ConfigError("--shape " + shape_string(twin.shape) + ": expected " +
                      std::to_string(kind->axes) + " sizes >= 1 for --kind " + twin.kind + ".");
  if (!options.overwrite && std::filesystem::exists(options.out))
    throw DataError(options.out.string() +
                    ": exists already. Choose another name, or overwrite it with --force.");
  return kind->write({twin, options});
}

}  // namespace scorenet::data
