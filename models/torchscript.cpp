#include "models/torchscript.hpp"

#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

#include <cctype>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "framework/core/check.hpp"
#include "framework/core/finite.hpp"
#include "models/torchscript_archive.hpp"

namespace scorenet::models {

struct TorchScriptNetwork::Script {
  torch::jit::Module module;
  torch::Dtype dtype = torch::kFloat32;
  bool has_weights = false;
  size_t arguments = 0;  // that forward gets
};

namespace {

namespace jit = torch::jit;

constexpr const char* kRemedy =
    " Write it with launch/export_network.py, or with torch.jit.script(module).save(FILE).";

// What an exception of PyTorch's interpreter says, in its last line; above it stands where.
std::string reason_of(const std::exception& error) {
  const auto* const c10_error = dynamic_cast<const c10::Error*>(&error);
  std::istringstream text(c10_error ? c10_error->what_without_backtrace() : error.what());
  std::string reason, line;
  while (std::getline(text, line)) {
    if (line.starts_with("Exception raised from") || line.starts_with("frame #")) break;
    const size_t first = line.find_first_not_of(" \t");
    if (first != std::string::npos && std::isalnum(static_cast<unsigned char>(line[first])))
      reason = line.substr(first);
  }
  constexpr size_t kLongest = 300;
  if (reason.size() > kLongest) reason = reason.substr(0, kLongest) + " ...";
  while (!reason.empty() && (reason.back() == '.' || reason.back() == ' ')) reason.pop_back();
  return reason.empty() ? "no reason given" : reason;
}

// torch::jit may throw anything at a stranger's file.
jit::Module open_script(const std::string& archive, const std::string& where,
                        torch::Device device) {
  if (const std::string why = no_torchscript_because(archive); !why.empty())
    throw CheckpointError(where + ": " + why + kRemedy);
  try {
    std::istringstream in(archive);
    return jit::load(in, device);
  } catch (const std::exception& error) {
    throw CheckpointError(where + ": cannot be read as a TorchScript archive (" + reason_of(error) +
                          "). The file is damaged or of a newer PyTorch.");
  } catch (...) {
    throw CheckpointError(where +
                          ": cannot be read as a TorchScript archive. The file is damaged.");
  }
}

bool is_trainable(const torch::Tensor& parameter) {
  return parameter.is_floating_point() && parameter.requires_grad();
}

// Two names of one weight: after loading, the names still share its memory, but not the tensor.
class Ties {
 public:
  // The tensor that stands for this memory, or an undefined one where it is new.
  torch::Tensor met(const torch::Tensor& weight) {
    if (weight.numel() == 0) return {};
    const auto [entry, is_new] = seen_.emplace(weight.data_ptr(), weight);
    return is_new ? torch::Tensor() : entry->second;
  }

 private:
  std::unordered_map<const void*, torch::Tensor> seen_;
};

struct Weights {
  Ties ties;
  int64_t frozen = 0;
  int64_t trainable = 0;
};

// The script's tree of modules as ours, with the same tensors.
void adopt(jit::Module script, torch::nn::Module& ours, Weights& weights) {
  for (const auto& item : script.named_parameters(/*recurse=*/false)) {
    if (!is_trainable(item.value)) {
      weights.frozen += item.value.numel();
      continue;
    }
    if (const torch::Tensor first = weights.ties.met(item.value); first.defined()) {
      script.setattr(item.name, first);
      continue;
    }
    ours.register_parameter(item.name, item.value);
    weights.trainable += item.value.numel();
  }
  for (const auto& child : script.named_children()) {
    const auto module = std::make_shared<torch::nn::Module>(child.name);
    const int64_t before = weights.trainable;
    adopt(child.value, *module, weights);
    if (weights.trainable > before) ours.register_module(child.name, module);
  }
}

// Weights as single zeros that are spread over their shapes: a few bytes each.
void strip(jit::Module script, std::unordered_map<const void*, torch::Tensor>& spread) {
  for (const auto& item : script.named_parameters(/*recurse=*/false)) {
    if (!is_trainable(item.value)) continue;
    torch::Tensor& empty = spread[item.value.unsafeGetTensorImpl()];
    if (!empty.defined()) {
      empty = torch::zeros({1}, item.value.options().requires_grad(false))
                  .as_strided(item.value.sizes(), std::vector<int64_t>(item.value.dim(), 0));
      empty.set_requires_grad(true);
    }
    script.setattr(item.name, empty);
  }
  for (const auto& child : script.named_children()) strip(child.value, spread);
}

std::string without_weights(const jit::Module& script) {
  std::unordered_map<const void*, torch::Tensor> spread;
  jit::Module copy = script.deepcopy();  // copy() shares the submodules
  strip(copy, spread);
  std::ostringstream out;
  copy.save(out);
  return out.str();
}

// Of a stripped archive: memory of their own for all weights, once for those of several names.
void unfold(jit::Module script, std::unordered_map<const void*, torch::Tensor>& whole) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : script.named_parameters(/*recurse=*/false)) {
    if (!is_trainable(item.value) || item.value.is_contiguous()) continue;
    torch::Tensor& own = whole[item.value.data_ptr()];
    if (!own.defined()) own = item.value.contiguous().requires_grad_(true);
    script.setattr(item.name, own);
  }
  for (const auto& child : script.named_children()) unfold(child.value, whole);
}

// Weights of one type, float32, whatever the file has; a module without weights has none to say.
void as_float32(jit::Module& script) {
  bool any = false;
  for (const torch::Tensor& parameter : script.parameters())
    any |= parameter.is_floating_point() && parameter.scalar_type() != torch::kFloat32;
  if (any) script.to(torch::kFloat32);
}

bool may_be_left_out(const c10::Argument& argument) {
  return argument.default_value().has_value() ||
         argument.type()->kind() == c10::TypeKind::OptionalType;
}

std::string signature(const std::vector<c10::Argument>& arguments) {
  std::string text;
  for (size_t i = 1; i < arguments.size(); ++i) text += (i > 1 ? ", " : "") + arguments[i].name();
  return "forward(" + text + ")";
}

// How many arguments forward gets here, itself not counted.
size_t checked_arguments(const jit::Module& script, const std::string& where, ThirdInput third) {
  const auto method = script.find_method("forward");
  if (!method) {
    throw ConfigError(where +
                      ": its module has no method forward. Export one with forward(x, level).");
  }
  const auto& arguments = method->function().getSchema().arguments();
  const size_t given = arguments.size() - 1;
  const std::string found = where + ": " + signature(arguments);
  size_t needed = given;
  while (needed > 0 && arguments[needed].default_value()) --needed;
  if (given < 2 || needed > 3) {
    throw ConfigError(found + " takes " + std::to_string(given) +
                      (given == 1 ? " argument" : " arguments") +
                      ", expected forward(x, level) or forward(x, level, third). Wrap "
                      "the module in one that does.");
  }
  if (third != ThirdInput::none && given < 3) {
    throw ConfigError(found +
                      " has no third argument for labels or conditions, but the config has some. "
                      "Set model.num_classes = 0, or export forward(x, level, label).");
  }
  if (third == ThirdInput::none && given >= 3 && !may_be_left_out(arguments[3])) {
    throw ConfigError(found +
                      " needs a third argument, but the config tells a network nothing. "
                      "Set model.num_classes, or give a [condition.NAME].");
  }
  if (third != ThirdInput::none) return 3;
  return given >= 3 && !arguments[3].default_value() ? 3 : 2;
}

}  // namespace

TorchScriptNetwork::TorchScriptNetwork(const std::string& archive, const std::string& where,
                                       ThirdInput third, torch::Device device)
    : script_(std::make_unique<Script>(Script{open_script(archive, where, device)})),
      where_(where),
      third_(third) {
  jit::Module& module = script_->module;
  script_->arguments = checked_arguments(module, where, third);
  try {
    module.eval();
    std::unordered_map<const void*, torch::Tensor> whole;
    unfold(module, whole);
    as_float32(module);
    Weights weights;
    adopt(module, *this, weights);
    frozen_ = weights.frozen;
    script_->has_weights = weights.trainable + weights.frozen > 0;
    archive_ = without_weights(module);
  } catch (const std::exception& error) {
    throw CheckpointError(where + ": its module cannot be taken over (" + reason_of(error) +
                          "). Export it again with launch/export_network.py.");
  }
  for (const auto& item : module.named_parameters())
    check_finite(item.value, where + ", tensor '" + item.name + "'");
}

std::string describe_torchscript(const std::string& archive, const std::string& where) {
  const jit::Module script = open_script(archive, where, torch::kCPU);
  const auto method = script.find_method("forward");
  int64_t trainable = 0, frozen = 0, buffers = 0;
  for (const auto& weight : script.parameters())
    (is_trainable(weight) ? trainable : frozen) += weight.numel();
  for (const auto& buffer : script.buffers()) buffers += buffer.numel();
  std::ostringstream out;
  out << "TorchScript "
      << (method ? signature(method->function().getSchema().arguments()) : "no method forward")
      << "\n"
      << "parameters  " << trainable << " that can be trained, " << frozen << " frozen\n"
      << "buffers     " << buffers << " numbers\n";
  return out.str();
}

TorchScriptNetwork::~TorchScriptNetwork() = default;

torch::Tensor TorchScriptNetwork::call(const torch::Tensor& x, const torch::Tensor& level,
                                       const torch::Tensor& third) {
  const torch::Dtype type = script_->has_weights ? script_->dtype : x.scalar_type();
  std::vector<c10::IValue> inputs{x.to(type), level.to(type)};
  if (script_->arguments == 3) {
    if (!third.defined()) {
      inputs.emplace_back();
    } else {
      inputs.emplace_back(third.is_floating_point() ? third.to(type) : third);
    }
  }
  c10::IValue result;
  try {
    // The optimiser compiles anew after some calls, with other roundings, and cannot be
    // differentiated twice.
    const jit::GraphOptimizerEnabledGuard plain(false);
    result = script_->module.forward(std::move(inputs));
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw ShapeError(where_ + ": forward fails for x of shape " + shape_string(x.sizes()) + " (" +
                     reason_of(error) +
                     "). Give data of the shape that it was exported for, or export it again.");
  }
  if (result.isTensor()) {
    const torch::Tensor answer = result.toTensor();
    if (answer.is_floating_point()) return answer.to(x.scalar_type());
    throw ShapeError(where_ + ": forward returns numbers of type " +
                     c10::toString(answer.scalar_type()) +
                     ", expected float32, or another type of real numbers. Export a module that "
                     "returns its prediction as such.");
  }
  throw ShapeError(where_ + ": forward returns " + result.tagKind() +
                   ", expected one tensor. Export a module that returns the tensor alone.");
}

std::string TorchScriptNetwork::buffer_that_training_changes(const torch::Tensor& x,
                                                             const torch::Tensor& level,
                                                             const torch::Tensor& third) {
  const torch::NoGradGuard no_grad;
  jit::Module& module = script_->module;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> kept;  // a buffer and what it held
  for (const auto& buffer : module.buffers()) kept.emplace_back(buffer, buffer.clone());
  module.train(true);
  std::string changed;
  try {
    call(x, level, third);
    size_t i = 0;
    for (const auto& item : module.named_buffers())
      if (!torch::equal(item.value, kept[i++].second) && changed.empty()) changed = item.name;
  } catch (const Error&) {  // whatever it cannot do in that mode it need not do
  }
  for (auto& [buffer, values] : kept) buffer.copy_(values);
  module.eval();
  return changed;
}

}  // namespace scorenet::models
