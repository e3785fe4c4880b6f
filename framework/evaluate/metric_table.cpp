#include "framework/evaluate/metric_table.hpp"

#include <charconv>

#include "framework/config/suggest.hpp"
#include "framework/core/error.hpp"
#include "framework/diffusion/likelihood/elbo.hpp"
#include "framework/diffusion/likelihood/hbar_elbo.hpp"
#include "framework/diffusion/likelihood/immse.hpp"
#include "framework/diffusion/likelihood/mcallester.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/evaluate/dequantised_metric.hpp"
#include "framework/evaluate/ode_choice.hpp"

namespace scorenet::evaluate {
namespace {

using diffusion::LikelihoodResult;
using Compute = std::function<LikelihoodResult(const MetricBatch&)>;

// Fixed steps where the caller names none.
constexpr int64_t kHbarSteps = 100;
constexpr int64_t kWkbSteps = 100;
constexpr int64_t kPublishedSteps = 40;
constexpr int64_t kPublishedDims = 16;  // 4 steps^2 (2 D + 1) network evaluations an example

const std::vector<std::string> kBoundTerms = {"prior", "diffusion", "reconstruction"};

ComputeMetric single(Compute compute) {
  return [compute = std::move(compute)](const MetricBatch& in) {
    return std::vector<LikelihoodResult>{compute(in)};
  };
}

diffusion::DrawOptions draws(const EvaluationOptions& options) {
  return {options.seed, options.time_samples};
}

int64_t steps_or(const EvaluationOptions& options, int64_t own) {
  return options.solver.steps > 0 ? options.solver.steps : own;
}

// The density of a path's clean end.
Metric of_path(Metric density, const std::string& name, const MetricRequest& request) {
  density.float32 = true;
  return with_dequantisation(std::move(density), DensityPoint::clean_state, name, request);
}

// A bound with a decoder of 8-bit levels is of probabilities; with the others it is a density's.
Metric with_decoder(Metric bound, const std::string& name, const MetricRequest& request) {
  if (request.decoder == diffusion::Decoder::discrete) return bound;
  return with_dequantisation(std::move(bound), DensityPoint::data, name, request);
}

Metric elbo(const std::string& name, const MetricRequest& r) {
  const auto compute = [r](const MetricBatch& in) {
    const auto& schedule = *r.model.schedule;
    if (r.options.exact) return diffusion::elbo_exact(in.denoiser, schedule, r.decoder, in.x);
    return diffusion::elbo(in.denoiser, schedule, r.decoder, in.x, in.slots, draws(r.options));
  };
  return with_decoder({kBoundTerms, single(compute)}, name, r);
}

Metric elbo_stepwise(int64_t steps, const std::string& name, const MetricRequest& r) {
  const auto compute = [r, steps](const MetricBatch& in) {
    const auto& schedule = *r.model.schedule;
    if (r.options.exact)
      return diffusion::elbo_stepwise_exact(in.denoiser, schedule, r.decoder, steps, in.x);
    return diffusion::elbo_stepwise(in.denoiser, schedule, r.decoder, steps, in.x, in.slots,
                                    draws(r.options));
  };
  return with_decoder({kBoundTerms, single(compute)}, name, r);
}

// True end terms where the model knows them; they need no decoder.
Metric mcallester_of_mixture(const std::string& name, const MetricRequest& r) {
  const auto compute = [r](const MetricBatch& in) {
    const auto& mixture = *r.model.analytic().mixture;
    if (r.options.exact) return diffusion::mcallester_exact(mixture, *r.model.schedule, in.x);
    return diffusion::mcallester(mixture, *r.model.schedule, in.x, in.slots, draws(r.options));
  };
  return with_dequantisation({kBoundTerms, single(compute)}, DensityPoint::data, name, r);
}

Metric mcallester(const std::string& name, const MetricRequest& r) {
  // The mixture's density is of whole examples.
  const bool whole = !r.model.transforms.has_missing();
  if (r.model.is_exact() && whole && !(r.decoder == diffusion::Decoder::discrete))
    return mcallester_of_mixture(name, r);
  const auto compute = [r](const MetricBatch& in) {
    const auto& schedule = *r.model.schedule;
    if (r.options.exact) return diffusion::mcallester_exact(in.denoiser, schedule, r.decoder, in.x);
    return diffusion::mcallester(in.denoiser, schedule, r.decoder, in.x, in.slots,
                                 draws(r.options));
  };
  return with_decoder({kBoundTerms, single(compute)}, name, r);
}

Metric immse(const std::string& name, const MetricRequest& r) {
  const auto compute = [r](const MetricBatch& in) {
    if (r.options.exact) return diffusion::immse_exact(in.denoiser, *r.model.schedule, in.x);
    return diffusion::immse(in.denoiser, *r.model.schedule, in.x, in.slots, draws(r.options));
  };
  return with_dequantisation({{"reference", "diffusion"}, single(compute)}, DensityPoint::data,
                             name, r);
}

Metric ode(const std::string& name, const MetricRequest& r) {
  const OdeChoice choice = ode_choice(r.options, r.model.is_analytic());
  const diffusion::OdeLikelihoodOptions& options = choice.options;
  const auto compute = [r, options](const MetricBatch& in) {
    if (r.options.exact)
      return diffusion::ode_likelihood_exact(in.denoiser, *r.model.schedule, in.x, in.slots,
                                             solver_precision(r.options), in.is_told);
    diffusion::OdeLikelihoodOptions of_batch = options;
    of_batch.whole_batch = in.is_told;
    return diffusion::ode_likelihood(in.denoiser, *r.model.schedule, in.x, in.slots, of_batch);
  };
  Metric metric = of_path({{"prior", "volume"}, single(compute)}, name, r);
  metric.solver = choice.text;
  return metric;
}

Compute wkb_exact(const MetricRequest& r) {
  diffusion::WkbOptions options;
  const diffusion::SolverPrecision precision = solver_precision(r.options);
  options.steps = precision.steps;
  options.rtol = precision.rtol;
  options.atol = precision.atol;
  options.windows = r.options.wkb.profile;
  options.hbar_shape = hbar_shape(r.options);
  return [r, options](const MetricBatch& in) {
    return diffusion::wkb_exact(in.denoiser, *r.model.schedule, in.x, options);
  };
}

Compute wkb_probed(const MetricRequest& r) {
  diffusion::WkbProbeOptions options;
  options.steps = steps_or(r.options, kWkbSteps);
  options.repeats = r.options.solver.probes;
  options.windows = r.options.wkb.profile;
  options.hbar_shape = hbar_shape(r.options);
  options.seed = r.options.seed;
  return [r, options](const MetricBatch& in) {
    auto result = diffusion::wkb_probed(in.denoiser, *r.model.schedule, in.x, in.slots, options);
    // Without the standard errors of repeats.
    result.terms.resize(static_cast<size_t>(2 + options.windows));
    return result;
  };
}

Compute wkb_published(const MetricRequest& r) {
  return [r, steps = steps_or(r.options, kPublishedSteps),
          shape = hbar_shape(r.options)](const MetricBatch& in) {
    if (const int64_t dims = in.x.numel() / in.x.size(0); dims > kPublishedDims) {
      throw ConfigError("--metrics wkb-published: examples have " + std::to_string(dims) +
                        " dimensions, and its cost of steps^2 dimensions allows at most " +
                        std::to_string(kPublishedDims) + ". Use wkb.");
    }
    return diffusion::wkb_published(in.denoiser, *r.model.schedule, in.x, steps,
                                    r.options.wkb.spacing, shape);
  };
}

// nll0 is the whole -log p, whatever dequantisation there was: it and the slope nll1
// are read together.
Metric first_order(Compute compute, int64_t windows, const std::string& name,
                   const MetricRequest& r) {
  Metric density{{"nll0", "nll1"}, single(std::move(compute))};
  density.windows = diffusion::wkb_windows(*r.model.schedule, windows);
  const auto& shares = density.windows.terms;
  density.terms.insert(density.terms.end(), shares.begin(), shares.end());
  Metric metric = of_path(std::move(density), name, r);
  metric.separate_terms = {"nll0", "nll1"};
  metric.compute = [of_state = metric.compute](const MetricBatch& in) {
    auto results = of_state(in);
    results[0].terms[0].second = results[0].nats;
    return results;
  };
  return metric;
}

Metric wkb(const std::string& name, const MetricRequest& r) {
  return first_order(r.options.exact ? wkb_exact(r) : wkb_probed(r), r.options.wkb.profile, name,
                     r);
}

Metric wkb_published(const std::string& name, const MetricRequest& r) {
  return first_order(wkb_published(r), 0, name, r);
}

SharedPaths::Paths hbar_drawn(const MetricRequest& r, const MetricBatch& in) {
  diffusion::HbarOptions options;
  options.hbars = r.options.hbar.values;
  options.paths = r.options.hbar.paths;
  options.steps = steps_or(r.options, kHbarSteps);
  options.hbar_shape = hbar_shape(r.options);
  options.exact_trace = r.options.solver.exact_trace;
  options.seed = r.options.seed;
  options.whole_batch = in.is_told;
  return r.paths->of(in.x, in.slots, [&] {
    return diffusion::hbar_likelihood(in.denoiser, *r.model.schedule, in.x, in.slots, options);
  });
}

Metric hbar_elbo(const std::string& name, const MetricRequest& r) {
  const auto compute = [r](const MetricBatch& in) {
    std::vector<LikelihoodResult> results;
    if (r.options.exact) {
      for (const double hbar : r.options.hbar.values)
        results.push_back(diffusion::hbar_elbo_exact(in.denoiser, *r.model.schedule, in.x, hbar,
                                                     solver_precision(r.options),
                                                     hbar_shape(r.options), in.is_told));
    } else {
      for (auto& at : hbar_drawn(r, in)) results.push_back(std::move(at.elbo));
    }
    return results;
  };
  return of_path({{"prior", "path"}, compute, r.options.hbar.values}, name, r);
}

Metric hbar_iw(const std::string& name, const MetricRequest& r) {
  if (r.options.exact) {
    throw ConfigError(
        "--exact: hbar-iw is the logarithm of a mean over --paths random paths and has no exact "
        "form. Evaluate it without --exact (--exact-trace leaves out the probes), or hbar-elbo "
        "with it.");
  }
  const auto compute = [r](const MetricBatch& in) {
    std::vector<LikelihoodResult> results;
    for (auto& at : hbar_drawn(r, in)) results.push_back(std::move(at.importance));
    return results;
  };
  return of_path({{}, compute, r.options.hbar.values}, name, r);
}

using MakeMetric = Metric (*)(const std::string&, const MetricRequest&);
struct Entry {
  const char* name;
  MakeMetric make;
};
constexpr Entry kEntries[] = {
    {"elbo", elbo},           {"ode", ode},        {"mcallester", mcallester},
    {"immse", immse},         {"wkb", wkb},        {"wkb-published", wkb_published},
    {"hbar-elbo", hbar_elbo}, {"hbar-iw", hbar_iw}};

// As diffusion.train_steps: a grid of all times is held in memory.
constexpr int64_t kMostSteps = 1'000'000;

// The T of "elbo-T", 0 if the name is no such.
int64_t steps_of(const std::string& name) {
  const std::string prefix = "elbo-";
  if (!name.starts_with(prefix)) return 0;
  int64_t steps = 0;
  const char* const end = name.data() + name.size();
  const auto [read, error] = std::from_chars(name.data() + prefix.size(), end, steps);
  return error == std::errc() && read == end && steps > 0 && steps <= kMostSteps ? steps : 0;
}

}  // namespace

std::string metric_names() {
  std::string names;
  for (const Entry& entry : kEntries) names += std::string(entry.name) + ", ";
  return names + "elbo-T (T steps, 1 to 1000000, such as elbo-1000), w2, fd (alias fid), kid, pr";
}

Metric find_metric(const std::string& name, const MetricRequest& request) {
  for (const Entry& entry : kEntries)
    if (name == entry.name) return entry.make(name, request);
  if (const int64_t steps = steps_of(name)) return elbo_stepwise(steps, name, request);
  std::vector<std::string> known = {"elbo-1000", "w2", "fd", "fid", "kid", "pr"};
  for (const Entry& entry : kEntries) known.emplace_back(entry.name);
  throw ConfigError("--metrics: '" + name + "' is not known." +
                    config::did_you_mean(config::suggest_name(name, known)) + " Known are " +
                    metric_names() + ".");
}

}  // namespace scorenet::evaluate
