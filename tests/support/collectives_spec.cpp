#include "tests/support/collectives_spec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "framework/comm/host_reduce.hpp"
#include "framework/core/error.hpp"

namespace scorenet::test {
namespace {

using comm::Buffer;
using comm::Communicator;
using comm::DataType;
using comm::ReduceOp;

/// Small integers, exact in every type.
template <typename T>
Buffer buffer_of(std::vector<T>& values, DataType type) {
  return {values.data(), int64_t(values.size()), type};
}

template <typename T, typename To, typename From>
void check_type(Communicator& c, DataType type, To to, From from) {
  const int n = c.size();
  // Element i of rank r is r + i: the sum over ranks is n (n - 1) / 2 + n i.
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max, ReduceOp::min}) {
    std::vector<T> values;
    for (int i = 0; i < 5; ++i) values.push_back(to(c.rank() + i));
    c.all_reduce(buffer_of(values, type), op, "test").wait();
    for (int i = 0; i < 5; ++i) {
      const int expected = op == ReduceOp::sum   ? n * (n - 1) / 2 + n * i
                           : op == ReduceOp::max ? n - 1 + i
                                                 : i;
      EXPECT_EQ(from(values[size_t(i)]), expected) << name(type) << " " << name(op);
    }
  }
}

template <typename T>
void check_plain_type(Communicator& c, DataType type) {
  check_type<T>(c, type, [](int v) { return T(v); }, [](T v) { return int(v); });
}

void check_data_movement(Communicator& c) {
  const int n = c.size();
  const int r = c.rank();
  for (int root = 0; root < n; ++root) {
    std::vector<int64_t> values{r * 10, r * 10 + 1};
    c.broadcast(buffer_of(values, DataType::int64), root, "test").wait();
    EXPECT_EQ(values, (std::vector<int64_t>{root * 10, root * 10 + 1}));
  }
  std::vector<float> mine{float(r), float(-r), 0.5f};
  std::vector<float> all(size_t(3 * n));
  c.all_gather(buffer_of(mine, DataType::float32), buffer_of(all, DataType::float32), "test")
      .wait();
  for (int k = 0; k < n; ++k) {
    EXPECT_EQ(all[size_t(3 * k)], float(k));
    EXPECT_EQ(all[size_t(3 * k + 1)], float(-k));
    EXPECT_EQ(all[size_t(3 * k + 2)], 0.5f);
  }
  // Rank r sends 10 r + s to rank s, twice: rank s holds 10 r + s at 2 r and 2 r + 1.
  std::vector<int64_t> out(size_t(2 * n));
  std::vector<int64_t> in(size_t(2 * n));
  for (int s = 0; s < n; ++s) out[size_t(2 * s)] = out[size_t(2 * s + 1)] = 10 * r + s;
  c.all_to_all(buffer_of(out, DataType::int64), buffer_of(in, DataType::int64), "test").wait();
  for (int s = 0; s < n; ++s) {
    EXPECT_EQ(in[size_t(2 * s)], 10 * s + r);
    EXPECT_EQ(in[size_t(2 * s + 1)], 10 * s + r);
  }
  // Element j of every rank is j + rank: the sum is n j + n (n - 1) / 2, and rank r keeps j = 2 r
  // and 2 r + 1.
  std::vector<double> whole(size_t(2 * n));
  std::iota(whole.begin(), whole.end(), double(r));
  std::vector<double> part(2);
  c.reduce_scatter(buffer_of(whole, DataType::float64), buffer_of(part, DataType::float64),
                   ReduceOp::sum, "test")
      .wait();
  EXPECT_EQ(part[0], n * (2.0 * r) + n * (n - 1) / 2.0);
  EXPECT_EQ(part[1], n * (2.0 * r + 1) + n * (n - 1) / 2.0);
  c.barrier("test").wait();
}

/// Several operations under way at once give each its own result, and dropping a handle waits.
void check_asynchrony(Communicator& c) {
  const int n = c.size();
  std::vector<int32_t> a{c.rank()};
  std::vector<int32_t> b{1};
  std::vector<int32_t> d{-c.rank()};
  {
    auto first = c.all_reduce(buffer_of(a, DataType::int32), ReduceOp::sum, "a");
    auto second = c.all_reduce(buffer_of(b, DataType::int32), ReduceOp::sum, "b");
    auto dropped = c.all_reduce(buffer_of(d, DataType::int32), ReduceOp::sum, "d");
    second.wait();
    while (!first.is_done()) {
    }
    first.wait();
  }
  EXPECT_EQ(a[0], n * (n - 1) / 2);
  EXPECT_EQ(b[0], n);
  EXPECT_EQ(d[0], -n * (n - 1) / 2);
}

void check_errors(Communicator& c) {
  // Wrong calls are refused before anything is sent, on every rank alike.
  std::vector<float> part(2);
  std::vector<float> whole(size_t(2 * c.size() + 1));
  const auto expect_names_count = [&](auto call) {
    try {
      call();
      ADD_FAILURE() << "no error";
    } catch (const CommError& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(std::to_string(whole.size())));
      EXPECT_EQ(e.exit_code(), ExitCode::communication);
    }
  };
  expect_names_count([&] {
    c.all_gather(buffer_of(part, DataType::float32), buffer_of(whole, DataType::float32), "test");
  });
  expect_names_count([&] {
    c.reduce_scatter(buffer_of(whole, DataType::float32), buffer_of(part, DataType::float32),
                     ReduceOp::sum, "test");
  });
  expect_names_count([&] {
    c.all_to_all(buffer_of(part, DataType::float32), buffer_of(whole, DataType::float32), "test");
  });
  try {
    c.broadcast(buffer_of(part, DataType::float32), c.size(), "weights");
    ADD_FAILURE() << "no error";
  } catch (const CommError& e) {
    EXPECT_THAT(e.what(), testing::AllOf(testing::HasSubstr("weights"),
                                         testing::HasSubstr("root " + std::to_string(c.size()))));
  }
}

}  // namespace

void check_collectives(Communicator& c) {
  EXPECT_GE(c.rank(), 0);
  EXPECT_LT(c.rank(), c.size());
  EXPECT_LE(c.local_size(), c.size());
  EXPECT_LT(c.local_rank(), c.local_size());
  check_plain_type<uint8_t>(c, DataType::uint8);
  check_plain_type<int32_t>(c, DataType::int32);
  check_plain_type<int64_t>(c, DataType::int64);
  check_plain_type<float>(c, DataType::float32);
  check_plain_type<double>(c, DataType::float64);
  check_plain_type<_Float16>(c, DataType::float16);
  check_type<uint16_t>(
      c, DataType::bfloat16, [](int v) { return comm::bfloat16_from_float(float(v)); },
      [](uint16_t v) { return int(comm::float_from_bfloat16(v)); });
  check_data_movement(c);
  check_asynchrony(c);
  check_errors(c);
}

}  // namespace scorenet::test
