// How a network is planned: layer by layer, in the order in which a forward pass runs them.
#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "models/cpu/layers.hpp"
#include "models/cpu/network.hpp"
#include "models/cpu/pixel_planes.hpp"

namespace scorenet::models::cpu {
namespace {

std::vector<int64_t> positions_of(int64_t channels) {
  std::vector<int64_t> in(static_cast<size_t>(whole_blocks(channels)), -1);
  std::iota(in.begin(), in.begin() + channels, 0);
  return in;
}

// Two tensors one behind the other, each in whole blocks.
std::vector<int64_t> positions_of(int64_t first, int64_t second) {
  std::vector<int64_t> in = positions_of(first), behind = positions_of(second);
  for (int64_t& c : behind)
    if (c >= 0) c += first;
  in.insert(in.end(), behind.begin(), behind.end());
  return in;
}

int64_t channels_in(const std::vector<int64_t>& in) {
  return std::count_if(in.begin(), in.end(), [](int64_t c) { return c >= 0; });
}

Area half(Area a) { return {a.height / 2, a.width / 2}; }

}  // namespace

// Builds a network, layer after layer.
class Planner {
 public:
  Planner(Network& network, const UNetOptions& options, Arithmetic arithmetic)
      : n_(network), o_(options), arithmetic_(arithmetic) {}

  void build(int64_t in_channels, int64_t out_channels, Area area) {
    plan_joins(area);
    Features x = first_layer(in_channels, area);
    for (size_t level = 0; level < o_.channels.size(); ++level) x = down(level, x);
    x = middle(x);
    for (size_t level = o_.channels.size(); level-- > 0;) x = up(level, x);
    last_layer(x, out_channels);
    add_time();
    name_parameters();
  }

 private:
  // The input of a residual block on the way up: what comes from below, and a skip.
  struct Join {
    Features whole, below, skip;
  };

  Features features(Area area, int64_t channels) {
    return {value(area, channels), gradient(area, channels), positions_of(channels)};
  }
  Place value(Area area, int64_t channels) { return place(n_.values_, area, channels); }
  Place gradient(Area area, int64_t channels) { return place(n_.gradients_, area, channels); }
  // A value that convolutions alone read.
  Place operand(Area area, int64_t channels) {
    return arithmetic_ == Arithmetic::bfloat16 ? rounded_place(n_.values_, area, channels)
                                               : value(area, channels);
  }
  // A gradient that no two layers need at once: all of one size share a place. `use` tells apart
  // what one layer needs together.
  Place shared_gradient(Area area, int64_t channels, int use) {
    const auto key = std::make_tuple(area.height, area.width, whole_blocks(channels), use);
    if (shared_.count(key) == 0) shared_[key] = gradient(area, channels);
    return shared_[key];
  }
  // The same of a rounded one.
  Place shared_operand(Area area, int64_t channels) {
    constexpr int kUse = 3;
    const auto key = std::make_tuple(area.height, area.width, whole_blocks(channels), kUse);
    if (shared_.count(key) == 0) shared_[key] = rounded_place(n_.gradients_, area, channels);
    return shared_[key];
  }
  static Place place(int64_t& floats, Area area, int64_t channels) {
    const int64_t step = whole_blocks(channels);
    Place p{floats, step, (area.width + 2) * step, step, area};
    p.first += p.row + step;
    floats += (area.height + 2) * p.row;
    return p;
  }

  static Place rounded_place(int64_t& floats, Area area, int64_t channels) {
    const Place p{floats, 0, 0, whole_blocks(channels), area, true};
    floats += PixelPlanes(area, 1, channels).image() / 2;
    return p;
  }

  int64_t parameter(const std::string& name) {
    n_.names_.push_back(name);
    return static_cast<int64_t>(n_.names_.size()) - 1;
  }

  const PlacedConvolution& place(ConvolutionShape shape, bool has_bias, Arithmetic arithmetic) {
    PlacedConvolution c(std::move(shape), arithmetic, n_.scratch_);
    c.packed = n_.packed_;
    c.packed_backward = n_.packed_backward_;
    c.sums = n_.sums_;
    n_.packed_ += c.made->forward_floats();
    n_.packed_backward_ += c.made->backward_floats();
    n_.sums_ += whole_blocks(c.made->sum_floats());
    if (has_bias) {
      c.bias = n_.vectors_;
      n_.vectors_ += c.made->shape().out_channels;
    }
    n_.convolutions_.push_back(std::move(c));
    return n_.convolutions_.back();
  }

  const PlacedConvolution& convolution(const std::string& name, Form form, Area area,
                                       const std::vector<int64_t>& in, int64_t out,
                                       bool has_bias = true) {
    const Part part{parameter(name + ".weight"), parameter(name + ".bias"), -1, out, 0};
    return place({form, in, {part}, whole_blocks(out), area}, has_bias, arithmetic_);
  }

  const PlacedNorm& norm(const std::string& name, const std::vector<int64_t>& in, bool silu) {
    PlacedNorm norm({in, channels_in(in), o_.norm_groups, o_.norm_eps, silu});
    norm.weight = parameter(name + ".weight");
    norm.bias = parameter(name + ".bias");
    norm.statistics = n_.statistics_;
    norm.vectors = n_.vectors_;
    n_.statistics_ += norm.made.statistics();
    n_.vectors_ += 2 * norm.made.channels();
    n_.norms_.push_back(std::move(norm));
    return n_.norms_.back();
  }

  bool has_attention(size_t level) const { return !o_.attention.empty() && o_.attention[level]; }

  // The skips in the order in which they are made are the joins in reverse.
  void plan_joins(Area area) {
    std::vector<std::pair<int64_t, Area>> skips{{o_.channels[0], area}};
    for (size_t level = 0; level < o_.channels.size(); ++level) {
      for (int64_t i = 0; i < o_.layers_per_block; ++i)
        skips.emplace_back(o_.channels[level], area);
      if (level + 1 == o_.channels.size()) break;
      area = half(area);
      skips.emplace_back(o_.channels[level], area);
    }
    int64_t below = o_.channels.back();
    for (size_t level = o_.channels.size(); level-- > 0;) {
      for (int64_t i = 0; i <= o_.layers_per_block; ++i) {
        add_join(below, skips.back().first, skips.back().second);
        skips.pop_back();
        below = o_.channels[level];
      }
    }
    next_skip_ = joins_.size();
  }

  void add_join(int64_t below, int64_t skip, Area area) {
    Join join;
    const int64_t behind = whole_blocks(below);
    join.whole = features(area, behind + whole_blocks(skip));
    join.whole.in = positions_of(below, skip);
    const auto slice = [&](int64_t first, int64_t channels) {
      const int64_t blocks = whole_blocks(channels);
      return Features{join.whole.value.slice(first, blocks),
                      join.whole.gradient.slice(first, blocks), positions_of(channels)};
    };
    join.below = slice(0, below);
    join.skip = slice(behind, skip);
    join.skip.joined = true;
    joins_.push_back(std::move(join));
  }
  const Features& skip() { return joins_[--next_skip_].skip; }

  Features first_layer(int64_t in_channels, Area area) {
    Features x = features(area, in_channels);
    x.in.resize(static_cast<size_t>(in_channels));  // read channel by channel
    x.is_input = true;
    n_.input_ = x.value;
    n_.input_gradient_ = x.gradient;
    const Features& y = skip();
    const auto& c = convolution("conv_in", Form::same, area, x.in, o_.channels[0]);
    add<ConvolutionLayer>(c, x, y);
    return y;
  }

  Features down(size_t level, Features x) {
    const std::string name = "down_blocks." + std::to_string(level);
    const int64_t out = o_.channels[level];
    for (int64_t i = 0; i < o_.layers_per_block; ++i)
      x = layer(name, i, x, out, skip(), has_attention(level));
    if (level + 1 == o_.channels.size()) return x;
    const Form form = o_.downsample_padding == 1 ? Form::half : Form::half_behind;
    const Features& y = skip();
    add<ConvolutionLayer>(convolution(name + ".downsamplers.0.conv", form, x.value.area, x.in, out),
                          x, y);
    return y;
  }

  Features middle(const Features& x) {
    const int64_t width = o_.channels.back();
    const Features h =
        layer("mid_block", 0, x, width, features(x.value.area, width), o_.mid_attention);
    return layer("mid_block", 1, h, width, joins_[0].below, false);
  }

  Features up(size_t level, Features x) {
    const std::string name = "up_blocks." + std::to_string(level_from_below(level));
    const int64_t out = o_.channels[level];
    for (int64_t i = 0; i <= o_.layers_per_block; ++i) {
      const Join& join = joins_[next_join_++];
      const bool to_join = i < o_.layers_per_block;
      x = layer(name, i, join.whole, out,
                to_join ? joins_[next_join_].below : features(join.whole.value.area, out),
                has_attention(level));
    }
    if (level == 0) return x;
    const Features& y = joins_[next_join_].below;
    add<ConvolutionLayer>(
        convolution(name + ".upsamplers.0.conv", Form::twice, x.value.area, x.in, out), x, y);
    return y;
  }
  size_t level_from_below(size_t level) const { return o_.channels.size() - 1 - level; }

  void last_layer(const Features& x, int64_t out_channels) {
    const Area area = x.value.area;
    const Features y = features(area, out_channels);
    const Features normed{operand(area, o_.channels[0]), gradient(area, o_.channels[0]),
                          positions_of(o_.channels[0])};
    add<NormLayer>(norm("conv_norm_out", x.in, true), x, normed);
    add<ConvolutionLayer>(convolution("conv_out", Form::same, area, normed.in, out_channels),
                          normed, y);
    n_.output_ = y.value;
    n_.output_gradient_ = y.gradient;
  }

  // A residual block and the attention behind it, if any, with y as its result.
  Features layer(const std::string& stage, int64_t i, const Features& x, int64_t out,
                 const Features& y, bool attention) {
    const Features h = attention ? features(x.value.area, out) : y;
    residual(stage + ".resnets." + std::to_string(i), x, h, out);
    if (attention) add_attention(stage + ".attentions." + std::to_string(i), h, y, out);
    return y;
  }

  void residual(const std::string& name, const Features& x, const Features& y, int64_t out) {
    const Area area = x.value.area;
    const int64_t in = channels_in(x.in);
    const auto& norm1 = norm(name + ".norm1", x.in, true);
    const auto& conv1 = convolution(name + ".conv1", Form::same, area, x.in, out, false);
    const int64_t shift = add_shift(name, conv1, out);
    const auto& norm2 = norm(name + ".norm2", y.in, true);
    const auto& conv2 = convolution(name + ".conv2", Form::same, area, y.in, out);
    const PlacedConvolution* shortcut = nullptr;
    if (in != out) shortcut = &convolution(name + ".conv_shortcut", Form::point, area, x.in, out);
    const auto positions = static_cast<int64_t>(x.in.size());
    const bool rounded = arithmetic_ == Arithmetic::bfloat16;
    const DropoutMask mask{n_.mask_bytes_, out, area};
    n_.masks_.push_back(mask);
    n_.mask_bytes_ += area.pixels() * whole_blocks(out);
    const Place d_normed = shared_gradient(area, out, 1);
    add<ResidualLayer>(ResidualParts{norm1, conv1, norm2, conv2, shortcut, shift, mask.first,
                                     operand(area, positions), value(area, out), operand(area, out),
                                     shared_gradient(area, positions, 0), d_normed,
                                     rounded ? shared_operand(area, out) : d_normed},
                       x, y);
  }

  // The noise level's part of a residual block: its projection, with conv1's bias.
  int64_t add_shift(const std::string& name, const PlacedConvolution& conv1, int64_t out) {
    const int64_t at = n_.shifts_;
    shift_parts_.push_back({parameter(name + ".time_emb_proj.weight"),
                            parameter(name + ".time_emb_proj.bias"),
                            conv1.made->shape().out[0].bias, out, at});
    n_.shifts_ += whole_blocks(out);
    return at;
  }

  void add_time() {
    n_.time_ = &place({Form::point, positions_of(4 * o_.channels[0]), shift_parts_, n_.shifts_, {}},
                      true, Arithmetic::float32);
    n_.parts_.front().convolutions.push_back(n_.time_);
  }

  void name_parameters() {
    for (Network::LayerParts& parts : n_.parts_) {
      std::vector<int64_t>& all = parts.parameters;
      for (const PlacedConvolution* c : parts.convolutions) {
        for (const Part& part : c->made->shape().out) {
          all.push_back(part.weight);
          if (c->bias >= 0) all.push_back(part.bias);
          if (c->bias >= 0 && part.more_bias >= 0) all.push_back(part.more_bias);
        }
      }
      for (const PlacedNorm* norm : parts.norms) all.insert(all.end(), {norm->weight, norm->bias});
    }
  }

  void add_attention(const std::string& name, const Features& x, const Features& y,
                     int64_t channels) {
    const Area area = x.value.area;
    const int64_t width = whole_blocks(channels);
    const auto& normed = norm(name + ".group_norm", x.in, false);
    std::vector<Part> parts;
    for (const char* role : {".to_q", ".to_k", ".to_v"}) {
      parts.push_back({parameter(name + role + ".weight"), parameter(name + role + ".bias"), -1,
                       channels, static_cast<int64_t>(parts.size()) * width});
    }
    const auto& in = place({Form::point, x.in, parts, 3 * width, area}, true, arithmetic_);
    const auto& out = convolution(name + ".to_out.0", Form::point, area, x.in, channels);
    const int64_t of_head = o_.attention_head_dim == 0 ? channels : o_.attention_head_dim;
    add<AttentionLayer>(
        AttentionParts{normed, in, out, Heads{channels / of_head, of_head}, arithmetic_,
                       operand(area, width), value(area, 3 * width), value(area, width),
                       shared_gradient(area, width, 0), shared_gradient(area, 3 * width, 2),
                       shared_gradient(area, width, 1)},
        x, y);
  }

  template <class L, class... Arguments>
  void add(Arguments&&... arguments) {
    n_.layers_.push_back(std::make_unique<L>(std::forward<Arguments>(arguments)...));
    Network::LayerParts parts;
    for (; counted_convolutions_ < n_.convolutions_.size(); ++counted_convolutions_)
      parts.convolutions.push_back(&n_.convolutions_[counted_convolutions_]);
    for (; counted_norms_ < n_.norms_.size(); ++counted_norms_)
      parts.norms.push_back(&n_.norms_[counted_norms_]);
    n_.parts_.push_back(std::move(parts));
  }

  Network& n_;
  const UNetOptions& o_;
  Arithmetic arithmetic_;
  std::vector<Join> joins_;  // in the order of the way up
  size_t next_skip_ = 0, next_join_ = 0;
  size_t counted_convolutions_ = 0, counted_norms_ = 0;  // that have a layer
  std::vector<Part> shift_parts_;
  std::map<std::tuple<int64_t, int64_t, int64_t, int>, Place> shared_;
};

Network::Network(const UNetOptions& options, int64_t in_channels, int64_t out_channels, Area area,
                 Arithmetic arithmetic) {
  Planner(*this, options, arithmetic).build(in_channels, out_channels, area);
}

}  // namespace scorenet::models::cpu
