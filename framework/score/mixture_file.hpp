// The analytic model's file: an HDF5 file with weights (K), means (K, D) and covariances
// (K, D, D), float64; or, of a homogeneous periodic Gaussian field, with means (C), deviations (C)
// and spectrum (...), the variance of each Fourier mode of (field - mean) / deviation: what
// `data synthesize --kind weather` leaves beside its fields.
#pragma once

#include <memory>
#include <string>

#include "framework/config/config.hpp"
#include "framework/diffusion/gaussian_mixture.hpp"

namespace scorenet::score {

/// Throws DataError naming the file and data set that is missing, misshapen or no mixture.
std::shared_ptr<const diffusion::GaussianMixture> read_mixture(const std::string& path);

/// model.score_scale, score_linear (D*D numbers, row-major) and score_offset (D numbers); empty
/// lists are zero. Throws ConfigError for lists of another length.
diffusion::ScoreErrors score_errors(const config::ModelConfig& config, int64_t dims);

}  // namespace scorenet::score
