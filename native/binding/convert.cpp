#include "convert.h"

#include <ATen/Context.h>
#include <c10/util/Exception.h>
#include <torch/cuda.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <new>

#include "core/error.h"

namespace padft::binding {
namespace {

const char* kind_of(const Napi::Value& value) {
  if (value.IsUndefined()) return "undefined";
  if (value.IsNull()) return "null";
  if (value.IsString()) return "a string";
  if (value.IsNumber()) return "a number";
  if (value.IsBoolean()) return "a boolean";
  if (value.IsFunction()) return "a function";
  if (value.IsTypedArray()) return "another typed array";
  return "an object";
}

std::string shown(const Napi::Value& value) {
  if (value.IsNumber()) return concat(value.As<Napi::Number>().DoubleValue());
  if (value.IsString()) return "\"" + value.As<Napi::String>().Utf8Value() + "\"";
  return kind_of(value);
}

template <class Array>
Array typed_array(const Napi::Value& value, napi_typedarray_type type, const std::string& path, const char* expected) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type, "ERR_OPTION", path,
          ": expected a ", expected, ", got ", shown(value));
  return value.As<Array>();
}

}  // namespace

Fields::Fields(const Napi::Value& value, std::string path) : path_(std::move(path)) {
  require(value.IsObject(), "ERR_OPTION", path_, ": expected an object, got ", kind_of(value));
  object_ = value.As<Napi::Object>();
}

Napi::Value Fields::value(const char* key) const { return object_.Get(key); }
bool Fields::is_null(const char* key) const { return value(key).IsNull(); }
Fields Fields::object(const char* key) const { return Fields(value(key), path(key)); }

double Fields::number(const char* key, double low, double high) const {
  const auto field = value(key);
  const double number = field.IsNumber() ? field.As<Napi::Number>().DoubleValue() : NAN;
  require(number >= low && number <= high, "ERR_OPTION", path(key), ": expected a number in [", low, ", ", high,
          "], got ", shown(field));
  return number;
}

int64_t Fields::integer(const char* key, int64_t low, int64_t high) const {
  const auto field = value(key);
  const double number = field.IsNumber() ? field.As<Napi::Number>().DoubleValue() : NAN;
  require(number >= static_cast<double>(low) && number <= static_cast<double>(high) && std::floor(number) == number,
          "ERR_OPTION", path(key), ": expected an integer in [", low, ", ", high, "], got ", shown(field));
  return static_cast<int64_t>(number);
}

uint64_t Fields::seed(const char* key) const { return static_cast<uint64_t>(integer(key, 0, (int64_t{1} << 53) - 1)); }

bool Fields::boolean(const char* key) const {
  const auto field = value(key);
  require(field.IsBoolean(), "ERR_OPTION", path(key), ": expected true or false, got ", shown(field));
  return field.As<Napi::Boolean>().Value();
}

std::string Fields::text(const char* key) const {
  const auto field = value(key);
  require(field.IsString(), "ERR_OPTION", path(key), ": expected a string, got ", shown(field));
  return field.As<Napi::String>().Utf8Value();
}

size_t Fields::choice(const char* key, const std::vector<const char*>& words) const {
  const auto field = value(key);
  std::string list;
  for (size_t i = 0; i < words.size(); ++i) {
    if (field.IsString() && field.As<Napi::String>().Utf8Value() == words[i]) return i;
    list += (i ? ", " : "") + std::string(words[i]);
  }
  fail("ERR_OPTION", path(key), ": expected one of ", list, "; got ", shown(field));
}

std::vector<double> Fields::numbers(const char* key) const {
  const auto field = value(key);
  require(field.IsArray(), "ERR_OPTION", path(key), ": expected an array of numbers, got ", shown(field));
  const auto array = field.As<Napi::Array>();
  std::vector<double> result;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array[i];
    require(item.IsNumber() && std::isfinite(item.As<Napi::Number>().DoubleValue()), "ERR_OPTION", path(key), "[", i,
            "]: expected a number, got ", shown(item));
    result.push_back(item.As<Napi::Number>().DoubleValue());
  }
  return result;
}

at::Device to_device(const std::string& name) {
  at::Device device(at::kCPU);
  try {
    device = at::Device(name);
  } catch (const c10::Error&) {
    fail("ERR_OPTION", "device: expected cpu, cuda or cuda:N, got \"", name, "\"");
  }
  if (device.is_cpu()) return device;
  require(device.is_cuda(), "ERR_OPTION", "device: expected cpu, cuda or cuda:N, got \"", name, "\"");
  require(at::hasCUDA(), "ERR_DEVICE", "device ", name, ": this libtorch sees no CUDA device; run `pad-ft doctor`, or use --device cpu");
  const auto count = static_cast<int64_t>(torch::cuda::device_count());
  const int64_t index = device.has_index() ? device.index() : 0;
  require(index < count, "ERR_DEVICE", "device ", name, ": expected an index below ", count, ", the number of CUDA devices here");
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

Precision to_precision(const Fields& fields, at::Device device) {
  const auto precision = static_cast<Precision>(fields.choice("precision", {"fp32", "tf32", "bf16"}));
  require(precision != Precision::tf32 || device.is_cuda(), "ERR_OPTION", fields.path("precision"),
          ": expected fp32 or bf16 on the CPU, got \"tf32\"");
  return precision;
}

EvalOptions to_eval_options(const Fields& fields, at::Device device) {
  EvalOptions options;
  options.batch_size = fields.integer("batchSize", 1, 1 << 20);
  options.precision = to_precision(fields, device);
  return options;
}

std::string listed(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += concat(text.empty() ? "" : ", ", value);
  return text.empty() ? "none" : text;
}

std::vector<int64_t> to_rows(const Napi::Value& value, const char* path) {
  const auto array = typed_array<Napi::Uint32Array>(value, napi_uint32_array, path, "Uint32Array");
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<int64_t> to_labels(const Napi::Value& value, const char* path) {
  const auto array = typed_array<Napi::Int32Array>(value, napi_int32_array, path, "Int32Array");
  return {array.Data(), array.Data() + array.ElementLength()};
}

at::Tensor to_floats(const Napi::Value& value, const std::string& path) {
  const auto array = typed_array<Napi::Float32Array>(value, napi_float32_array, path, "Float32Array");
  auto tensor = at::empty({static_cast<int64_t>(array.ElementLength())});
  if (array.ElementLength() > 0) std::memcpy(tensor.data_ptr<float>(), array.Data(), array.ByteLength());
  return tensor;
}

at::Tensor to_bytes(const Napi::Value& value, const std::string& path) {
  const auto array = typed_array<Napi::Uint8Array>(value, napi_uint8_array, path, "Uint8Array");
  auto tensor = at::empty({static_cast<int64_t>(array.ElementLength())}, at::kByte);
  if (array.ElementLength() > 0) std::memcpy(tensor.data_ptr<uint8_t>(), array.Data(), array.ByteLength());
  return tensor;
}

at::Tensor to_grid(const Napi::Value& value, const std::string& path, const DatasetShape& shape) {
  const auto flat = to_floats(value, path);
  const int64_t expected = shape.height * shape.width * 2;
  require(flat.numel() == expected, "ERR_OPTION", path, ": expected ", expected, " values (height × width × 2), got ",
          flat.numel());
  require(flat.abs().le(1).all().item<bool>(), "ERR_OPTION", path, ": expected values in [-1, 1]");
  return flat.view({shape.height, shape.width, 2});
}

Napi::Value from_floats(Napi::Env env, const at::Tensor& values) {
  const auto host = values.to(at::kCPU, at::kFloat).contiguous();
  auto array = Napi::Float32Array::New(env, static_cast<size_t>(host.numel()));
  if (host.numel() > 0) std::memcpy(array.Data(), host.data_ptr<float>(), array.ByteLength());
  return array;
}

Napi::Value from_integers(Napi::Env env, const at::Tensor& values) {
  const auto host = values.to(at::kCPU, at::kInt).contiguous();
  auto array = Napi::Int32Array::New(env, static_cast<size_t>(host.numel()));
  if (host.numel() > 0) std::memcpy(array.Data(), host.data_ptr<int32_t>(), array.ByteLength());
  return array;
}

Napi::Value from_doubles(Napi::Env env, const std::vector<double>& values) {
  auto array = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) array.Set(static_cast<uint32_t>(i), values[i]);
  return array;
}

Napi::Value from_bounds(Napi::Env env, const BoundSet& bounds) {
  auto result = Napi::Object::New(env);
  result.Set("max", bounds.max.defined() ? from_floats(env, bounds.max) : env.Null());
  result.Set("mean", bounds.mean.defined() ? from_floats(env, bounds.mean) : env.Null());
  return result;
}

namespace {

// libtorch's messages go on for pages on some versions; the first line says what is wrong.
Napi::Error coded(Napi::Env env, const char* code, const std::string& text) {
  const auto line_end = text.find('\n');
  auto error = Napi::Error::New(env, text.substr(0, line_end));
  error.Set("code", Napi::String::New(env, code));
  if (line_end != std::string::npos) error.Set("detail", Napi::String::New(env, text.substr(line_end + 1)));
  return error;
}

bool speaks_of_memory(const std::string& text) {
  // The last two are cuBLAS's and cuDNN's, which swallow the allocator's own error.
  constexpr const char* kWords[] = {"out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED",
                                    "ALLOCATION_FAILED"};
  return std::any_of(std::begin(kWords), std::end(kWords),
                     [&](const char* words) { return text.find(words) != std::string::npos; });
}

constexpr const char* kMemoryAdvice = "not enough memory; lower the batch size, use fewer rows or a narrower network: ";

}  // namespace

Napi::Error to_js_error(Napi::Env env, std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return coded(env, error.code(), error.what());
  } catch (const Napi::Error& error) {
    return error;
  } catch (const c10::OutOfMemoryError& error) {
    return coded(env, "ERR_OOM", kMemoryAdvice + std::string(error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (speaks_of_memory(text)) return coded(env, "ERR_OOM", kMemoryAdvice + text);
    return coded(env, "ERR_TORCH", text);
  } catch (const std::bad_alloc&) {
    return coded(env, "ERR_OOM", std::string(kMemoryAdvice) + "the system refused an allocation");
  } catch (const std::exception& error) {
    return coded(env, "ERR_INTERNAL", error.what());
  } catch (...) {
    return coded(env, "ERR_INTERNAL", "an exception of an unknown kind");
  }
}

}  // namespace padft::binding
