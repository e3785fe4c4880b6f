#include "framework/metrics/transport.hpp"

#include <lemon/network_simplex.h>
#include <lemon/smart_graph.h>

#include <numeric>

#include "framework/core/error.hpp"

namespace scorenet::metrics {

double transport_cost(const std::vector<double>& cost, int64_t sources, int64_t targets) {
  using Graph = lemon::SmartDigraph;
  Graph graph;
  graph.reserveNode(static_cast<int>(sources + targets));
  graph.reserveArc(static_cast<int>(sources * targets));
  std::vector<Graph::Node> nodes;
  for (int64_t i = 0; i < sources + targets; ++i) nodes.push_back(graph.addNode());
  Graph::ArcMap<double> costs(graph);
  for (int64_t i = 0; i < sources; ++i) {
    for (int64_t j = 0; j < targets; ++j) {
      const auto arc =
          graph.addArc(nodes[static_cast<size_t>(i)], nodes[static_cast<size_t>(sources + j)]);
      costs[arc] = cost[static_cast<size_t>(i * targets + j)];
    }
  }
  // Whole numbers: a source supplies targets / gcd, a target takes sources / gcd, so the flow is
  // integral and exact.
  const int64_t common = std::gcd(sources, targets);
  Graph::NodeMap<int64_t> supply(graph);
  for (int64_t i = 0; i < sources + targets; ++i) {
    supply[nodes[static_cast<size_t>(i)]] = i < sources ? targets / common : -(sources / common);
  }
  lemon::NetworkSimplex<Graph, int64_t, double> simplex(graph);
  if (simplex.costMap(costs).supplyMap(supply).run() != simplex.OPTIMAL) {
    throw Error(ExitCode::usage, "w2: the network simplex found no optimal plan for " +
                                     std::to_string(sources) + " x " + std::to_string(targets) +
                                     " points. Check the points for overflow.");
  }
  const double total = static_cast<double>(sources) * static_cast<double>(targets / common);
  return simplex.totalCost<double>() / total;
}

}  // namespace scorenet::metrics
