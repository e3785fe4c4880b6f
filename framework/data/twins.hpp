// Small synthetic files in the exact layout of published data sets, with plausible physics, to try
// a config before the data are at hand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/data/convert.hpp"

namespace scorenet::data {

struct TwinOptions {
  std::string kind;
  int64_t samples = 0;              // for "well": trajectories
  std::vector<int64_t> shape = {};  // of a sample, as below; empty: the sizes given there
  uint64_t seed = 0;
};

/// The names of the twins.
std::vector<std::string> twin_names();

/// Writes a twin; sample i is a function of (seed, i). Returns lines for the user.
///   calo     CaloChallenge: `showers` (N, L A R) float32 MeV, radius fastest, then angle, then
///            layer, gzip; `incident_energies` (N, 1). shape: L, A, R = 45, 16, 9. A gamma profile
///            in depth that grows with log E, exponential in radius (Longo and Sestili 1975).
///   well     The Well: `t0_fields/tracer` (N, T, X, Y) float32, scalars, dimensions, boundary
///            conditions. shape: T, X, Y = 16, 32, 32. A periodic field that a constant wind
///            carries and that spreads: each Fourier mode has its exact solution.
///   weather  `fields` (N, C, lat, lon) float32, contiguous: a Gaussian field of known spectrum.
///            shape: C, lat, lon = 4, 32, 64. Beside it the law: `means`, `deviations` (C), and
///            `spectrum` (lat, lon), the variance of every Fourier mode (orthonormal transform) of
///            (field - mean) / deviation. Hours that follow each other have the correlation 0.48.
///   cmd      CAMELS: OUT.npy (N, H, W) float32, log-normal maps, and OUT_parameters.npy (N, 6).
///            shape: H, W = 64, 64.
///   nhwc     `images` (N, H, W, 3) uint8, `labels` (N). shape: H, W = 32, 32.
/// Throws ConfigError for an impossible kind, number or shape, and DataError if the file cannot be
/// written.
std::vector<std::string> write_twin(const TwinOptions& twin, const ConvertOptions& options);

/// The variance of every mode (H, W) of a periodic Gaussian field of mean square one whose power
/// falls as (1 + (k scale)^2)^(-slope), k in cycles across the field: the spectrum of "weather" has
/// scale 0.5 and slope 1.5.
torch::Tensor power_spectrum(int64_t height, int64_t width, double scale, double slope);

}  // namespace scorenet::data
