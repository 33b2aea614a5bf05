// A small test harness: named cases, checks that go on after a failure, one closing line. No third-party code.
//
//   CASE("random", "a permutation holds every number once") {
//     EXPECT(sorted == expected);
//     EXPECT_NEAR(value, 0.5, 1e-6);
//   }
//
// A case fails when a check in it failed or an exception left it. main.cpp runs all cases, or those that are named.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <exception>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"

namespace padft::test {

struct Case {
  const char* group;
  const char* name;
  void (*body)();
};

/// Every case, in the order of its file.
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Register {
  Register(const char* group, const char* name, void (*body)()) { cases().push_back({group, name, body}); }
};

/// What went wrong in the case that runs now, one line each.
inline std::vector<std::string>& failures() {
  static std::vector<std::string> all;
  return all;
}

/// libtorch's messages go on with a trace of addresses; the first line is what tells.
inline std::string first_line(const std::exception& error) {
  const std::string text(error.what());
  return text.substr(0, text.find('\n'));
}

inline void report(const char* file, int line, const std::string& what) {
  const std::string path(file);
  failures().push_back(concat(path.substr(path.rfind('/') + 1), ":", line, ": ", what));
}

inline void check(bool holds, const char* expression, const char* file, int line) {
  if (!holds) report(file, line, concat("expected ", expression));
}

template <class A, class B>
void check_equal(const A& actual, const B& expected, const char* expression, const char* file, int line) {
  if (actual == expected) return;
  report(file, line, concat(expression, ": expected ", expected, ", got ", actual));
}

inline void check_near(double actual, double expected, double tolerance, const char* expression, const char* file,
                       int line) {
  if (std::abs(actual - expected) <= tolerance) return;  // false for NaN
  std::ostringstream out;
  out.precision(12);
  out << expression << ": expected " << expected << " within " << tolerance << ", got " << actual;
  report(file, line, out.str());
}

/// |actual − expected| ≤ tolerance · (1 + |expected|) everywhere.
inline void check_close(const at::Tensor& actual, const at::Tensor& expected, double tolerance, const char* expression,
                        const char* file, int line) {
  if (!actual.defined() || !expected.defined() || actual.sizes() != expected.sizes()) {
    return report(file, line, concat(expression, ": the shapes differ, or one is undefined"));
  }
  const auto a = actual.detach().to(at::kDouble), b = expected.detach().to(at::kDouble);
  if (at::allclose(a, b, tolerance, tolerance)) return;
  report(file, line, concat(expression, ": expected equality within ", tolerance, ", the largest difference is ",
                            (a - b).abs().max().item<double>()));
}

/// The same type, shape and values, bit for bit but for the sign of zero.
inline void check_same(const at::Tensor& actual, const at::Tensor& expected, const char* expression, const char* file,
                       int line) {
  if (!actual.defined() || !expected.defined() || actual.scalar_type() != expected.scalar_type() ||
      actual.sizes() != expected.sizes()) {
    return report(file, line, concat(expression, ": type or shape differ, or one is undefined"));
  }
  if (at::equal(actual.detach(), expected.detach())) return;
  report(file, line, concat(expression, ": ", actual.detach().ne(expected.detach()).sum().item<int64_t>(), " of ",
                            actual.numel(), " values differ"));
}

/// That `body` throws padft::Error with this code, and a message that holds `text`.
template <class Body>
void check_error(const Body& body, const char* code, const char* text, const char* file, int line) {
  try {
    body();
  } catch (const Error& error) {
    if (std::string(error.code()) != code) {
      report(file, line, concat("expected ", code, ", got ", error.code(), ": ", error.what()));
    } else if (std::string(error.what()).find(text) == std::string::npos) {
      report(file, line, concat("expected a message with \"", text, "\", got \"", error.what(), "\""));
    }
    return;
  } catch (const std::exception& error) {
    return report(file, line, concat("expected ", code, ", got another exception: ", first_line(error)));
  }
  report(file, line, concat("expected ", code, ", but nothing was thrown"));
}

}  // namespace padft::test

#define PADFT_JOIN_(a, b) a##b
#define PADFT_JOIN(a, b) PADFT_JOIN_(a, b)

#define CASE(group, name)                                                                              \
  static void PADFT_JOIN(case_, __LINE__)();                                                           \
  static const ::padft::test::Register PADFT_JOIN(registered_, __LINE__)(group, name,                  \
                                                                         &PADFT_JOIN(case_, __LINE__)); \
  static void PADFT_JOIN(case_, __LINE__)()

#define EXPECT(condition) ::padft::test::check(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define EXPECT_EQUAL(actual, expected) ::padft::test::check_equal(actual, expected, #actual, __FILE__, __LINE__)
#define EXPECT_NEAR(actual, expected, tolerance) \
  ::padft::test::check_near(actual, expected, tolerance, #actual, __FILE__, __LINE__)
#define EXPECT_CLOSE(actual, expected, tolerance) \
  ::padft::test::check_close(actual, expected, tolerance, #actual, __FILE__, __LINE__)
#define EXPECT_SAME(actual, expected) ::padft::test::check_same(actual, expected, #actual, __FILE__, __LINE__)
/// `statement` must throw padft::Error with `code` and a message that holds `text`.
#define EXPECT_ERROR(statement, code, text) \
  ::padft::test::check_error([&] { statement; }, code, text, __FILE__, __LINE__)
