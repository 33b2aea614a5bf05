#include "core/random.h"

#include <algorithm>
#include <set>

#include "check.h"

namespace padft {

// The expected numbers come from a separate implementation of mt19937_64 in Python.
CASE("random", "draws of a seed are fixed") {
  Stream uniform(7);
  EXPECT_EQUAL(uniform.uniform(), 0.754385304152858);
  EXPECT_EQUAL(uniform.uniform(), 0.9493012028926442);
  EXPECT_EQUAL(uniform.uniform(), 0.11741428103451801);
  Stream below(7);
  for (const uint64_t expected : {3, 0, 0, 0, 1, 0, 3, 4}) EXPECT_EQUAL(below.below(6), expected);
  const std::vector<int64_t> order = {0, 7, 4, 9, 3, 1, 2, 8, 6, 5};
  EXPECT(Stream(7).permutation(10) == order);
}

CASE("random", "uniform draws stay in their range and fill it") {
  Stream stream(3);
  double low = 1, high = 0, sum = 0;
  for (int i = 0; i < 20000; ++i) {
    const double draw = stream.uniform();
    low = std::min(low, draw);
    high = std::max(high, draw);
    sum += draw;
  }
  EXPECT(low >= 0 && low < 0.001);
  EXPECT(high < 1 && high > 0.999);
  EXPECT_NEAR(sum / 20000, 0.5, 0.01);
  for (int i = 0; i < 1000; ++i) {
    const double draw = stream.uniform(-2, 3);
    EXPECT(draw >= -2 && draw < 3);
  }
}

CASE("random", "draws between two numbers round their product, as processors without a fused multiply-add do") {
  Stream drawn(5), plain(5);
  int fused = 0;
  for (int i = 0; i < 1000; ++i) {
    // Volatile: the compiler cannot join it with the sum.
    const volatile double product = (0.3 - -0.1) * plain.uniform();
    if (drawn.uniform(-0.1, 0.3) != -0.1 + product) ++fused;
  }
  EXPECT_EQUAL(fused, 0);
}

CASE("random", "integers below a bound are equally frequent") {
  Stream stream(11);
  std::vector<int> count(5, 0);
  for (int i = 0; i < 50000; ++i) ++count[stream.below(5)];
  for (const int value : count) EXPECT_NEAR(value, 10000, 400);
  EXPECT_EQUAL(stream.below(1), 0u);
}

CASE("random", "a permutation holds every number once") {
  for (const int64_t count : {0, 1, 2, 17, 1000}) {
    auto order = Stream(static_cast<uint64_t>(count) + 5).permutation(count);
    EXPECT_EQUAL(order.size(), static_cast<size_t>(count));
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < count; ++i) EXPECT_EQUAL(order[i], i);
  }
  EXPECT(Stream(1).permutation(50) != Stream(2).permutation(50));
  EXPECT(Stream(1).permutation(50) == Stream(1).permutation(50));
}

CASE("random", "every position of a permutation is equally likely") {
  std::vector<int> first(4, 0);
  Stream stream(19);
  for (int i = 0; i < 20000; ++i) ++first[stream.permutation(4)[0]];
  for (const int value : first) EXPECT_NEAR(value, 5000, 250);
}

CASE("random", "Beta draws have the moments of the distribution") {
  for (const double shape : {0.1, 0.75, 1.0, 4.0}) {
    Stream stream(17);
    double sum = 0, squares = 0;
    for (int i = 0; i < 20000; ++i) {
      const double draw = stream.beta(shape);
      EXPECT(draw >= 0 && draw <= 1);
      sum += draw;
      squares += (draw - 0.5) * (draw - 0.5);
    }
    EXPECT_NEAR(sum / 20000, 0.5, 0.01);
    EXPECT_NEAR(squares / 20000, 1 / (4 * (2 * shape + 1)), 0.005);
  }
}

CASE("random", "a batch cycle gives each row once a pass, in a new order") {
  BatchCycle cycle(10, 4);
  std::vector<int64_t> drawn;
  for (int i = 0; i < 10; ++i) {
    const auto rows = cycle.next(3);
    EXPECT_EQUAL(rows.size(), 3u);
    drawn.insert(drawn.end(), rows.begin(), rows.end());
  }
  std::vector<std::vector<int64_t>> passes;
  for (int pass = 0; pass < 3; ++pass) {
    passes.emplace_back(drawn.begin() + pass * 10, drawn.begin() + pass * 10 + 10);
    EXPECT_EQUAL(std::set<int64_t>(passes[pass].begin(), passes[pass].end()).size(), 10u);
  }
  EXPECT(passes[0] != passes[1] && passes[1] != passes[2]);
}

CASE("random", "a batch larger than the set spans passes") {
  BatchCycle cycle(3, 1);
  const auto rows = cycle.next(7);
  EXPECT_EQUAL(rows.size(), 7u);
  for (int64_t row = 0; row < 3; ++row) EXPECT(std::count(rows.begin(), rows.end(), row) >= 2);
}

}  // namespace padft
