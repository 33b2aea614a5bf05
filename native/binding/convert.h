// Between JavaScript values and the core's: options read by path, typed arrays copied, errors coded.
#pragma once

#include <ATen/ATen.h>
#include <napi.h>

#include <string>
#include <vector>

#include "core/dataset.h"
#include "core/evaluate.h"
#include "models/network.h"

namespace padft::binding {

/// Reads the fields of an options object; a missing field or a wrong type is an ERR_OPTION that names the path.
class Fields {
 public:
  Fields(const Napi::Value& value, std::string path);

  double number(const char* key, double low, double high) const;
  int64_t integer(const char* key, int64_t low, int64_t high) const;
  /// A seed: an integer in [0, 2^53).
  uint64_t seed(const char* key) const;
  bool boolean(const char* key) const;
  std::string text(const char* key) const;
  /// One of the words given, as its index.
  size_t choice(const char* key, const std::vector<const char*>& words) const;
  std::vector<double> numbers(const char* key) const;
  bool is_null(const char* key) const;
  Napi::Value value(const char* key) const;
  Fields object(const char* key) const;
  std::string path(const char* key) const { return path_ + "." + key; }

 private:
  Napi::Object object_;
  std::string path_;
};

at::Device to_device(const std::string& name);
Precision to_precision(const Fields& fields, at::Device device);
EvalOptions to_eval_options(const Fields& fields, at::Device device);

/// Numbers in words, for a message: `0.1, 2`.
std::string listed(const std::vector<double>& values);

/// A copy of a typed array of exactly the kind named; ERR_OPTION otherwise.
std::vector<int64_t> to_rows(const Napi::Value& value, const char* path);            // Uint32Array
std::vector<int64_t> to_labels(const Napi::Value& value, const char* path);          // Int32Array
at::Tensor to_floats(const Napi::Value& value, const std::string& path);             // Float32Array → [n]
at::Tensor to_bytes(const Napi::Value& value, const std::string& path);              // Uint8Array → [n] uint8
/// Float32Array → [H, W, 2], the grid of a warp.
at::Tensor to_grid(const Napi::Value& value, const std::string& path, const DatasetShape& shape);

Napi::Value from_floats(Napi::Env env, const at::Tensor& values);  // float32 → Float32Array
Napi::Value from_integers(Napi::Env env, const at::Tensor& values);  // int64 → Int32Array
Napi::Value from_doubles(Napi::Env env, const std::vector<double>& values);
Napi::Value from_bounds(Napi::Env env, const BoundSet& bounds);

/// A JavaScript Error with `code`, from an exception of any kind.
Napi::Error to_js_error(Napi::Env env, std::exception_ptr exception);

}  // namespace padft::binding
