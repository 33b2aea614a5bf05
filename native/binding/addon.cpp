// The list of what crosses the border. src/native/contract.ts says what each entry means.
#include "addon.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <stdlib.h>

#include "core/device_info.h"
#include "core/host_cache.h"
#include "task.h"

namespace padft::binding {

const napi_type_tag kDatasetTag = {0x6f1d0b7a4c9e4a51, 0x9a3b52d8e7c01f44};
const napi_type_tag kModelTag = {0x2c8e91f6d35b4077, 0xb1740ae96c2df583};
const napi_type_tag kTrainerTag = {0xd94f3a02b8174e6c, 0x85e6c91370ad2b4f};
const napi_type_tag kFitterTag = {0x17b5e8c9402f4d3a, 0xac09d7365be184f2};
const napi_type_tag kTunerTag = {0xe3620fd1a97c48b5, 0x904b1c8de5f72a36};
const napi_type_tag kMaskerTag = {0x5ad27c3e816f49b0, 0xc8f31be0749a2d65};
const napi_type_tag kContrastiveTag = {0x5ab90c7de2f1483e, 0xc6137fe08d94b25a};
const napi_type_tag kMixMatchTag = {0x8e47d15f03ac4b92, 0x7df2a6c9581e3b04};

Addon& addon_of(Napi::Env env) { return *env.GetInstanceData<Addon>(); }

Addon::Addon(Napi::Env env, Napi::Object exports) {
  // Read by cuBLAS when it first computes. The loader sets it too, but in a worker thread its environment is a copy.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  install_host_cache();
  DefineAddon(exports, {InstanceMethod("runtime", &Addon::runtime), InstanceMethod("models", &Addon::models),
                        InstanceMethod("setThreads", &Addon::set_threads), InstanceMethod("memory", &Addon::memory),
                        InstanceMethod("selfTest", &Addon::self_test),
                        InstanceMethod("createDataset", &Addon::create_dataset),
                        InstanceMethod("createModel", &Addon::create_model),
                        InstanceMethod("createTrainer", &Addon::create_trainer),
                        InstanceMethod("createBoundsFitter", &Addon::create_bounds_fitter),
                        InstanceMethod("createClassifierTuner", &Addon::create_classifier_tuner),
                        InstanceMethod("createNeuronMasker", &Addon::create_neuron_masker),
                        InstanceMethod("createContrastiveTrainer", &Addon::create_contrastive_trainer),
                        InstanceMethod("createMixMatchTrainer", &Addon::create_mixmatch_trainer),
                        InstanceMethod("cancelAll", &Addon::cancel_all)});
  dataset = Napi::Persistent(DatasetWrap::define(env));
  model = Napi::Persistent(ModelWrap::define(env));
  trainer = Napi::Persistent(TrainerWrap::define(env));
  fitter = Napi::Persistent(FitterWrap::define(env));
  tuner = Napi::Persistent(TunerWrap::define(env));
  masker = Napi::Persistent(MaskerWrap::define(env));
  contrastive = Napi::Persistent(ContrastiveWrap::define(env));
  mixmatch = Napi::Persistent(MixMatchWrap::define(env));
  // worker.terminate() ends an environment in the middle of a job: stop its jobs and wait, or the compute thread would
  // call into an environment that is gone.
  env.AddCleanupHook([this] { Worker::instance().cancel_and_wait(this, 60); });
}

Napi::Value Addon::runtime(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto env = info.Env();
    auto result = Napi::Object::New(env);
    result.Set("torch", torch_version());
    result.Set("cudaBuilt", cuda_built());
    auto devices = Napi::Array::New(env);
    for (const auto& device : cuda_devices()) {
      auto entry = Napi::Object::New(env);
      entry.Set("index", static_cast<double>(device.index));
      entry.Set("name", device.name);
      entry.Set("totalBytes", static_cast<double>(device.total_bytes));
      entry.Set("bf16", device.bf16);
      devices.Set(devices.Length(), entry);
    }
    result.Set("cudaDevices", devices);
    const auto problem = cuda_problem();
    if (!problem.empty()) result.Set("cudaProblem", problem);
    result.Set("threads", at::get_num_threads());
    result.Set("parallel", at::get_parallel_info());
    result.Set("blas", at::show_config());
    result.Set("cpuCapability", cpu_capability());
    result.Set("cpuBf16", cpu_has_bf16());
    result.Set("cxxStandard", static_cast<double>(__cplusplus / 100 % 100));
    result.Set("napiVersion", static_cast<double>(NAPI_VERSION));
#ifdef PADFT_WITH_CUDA_GRAPHS
    result.Set("cudaGraphs", true);
#else
    result.Set("cudaGraphs", false);
#endif
    return Napi::Value(result);
  });
}

Napi::Value Addon::models(const Napi::CallbackInfo& info) {
  auto result = Napi::Array::New(info.Env());
  for (const auto& architecture : architectures()) {
    auto entry = Napi::Object::New(info.Env());
    entry.Set("name", architecture.name);
    entry.Set("paper", architecture.paper);
    result.Set(result.Length(), entry);
  }
  return result;
}

void Addon::set_threads(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const double count = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
    require(count >= 1 && count <= 1024 && count == static_cast<int>(count), "ERR_OPTION",
            "threads: expected an integer in [1, 1024]");
    Worker::instance().set_threads(static_cast<int>(count));
    at::set_num_threads(static_cast<int>(count));
  });
}

namespace {

at::Device device_argument(const Napi::Value& value) {
  require(value.IsString(), "ERR_OPTION", "device: expected cpu, cuda or cuda:N");
  return to_device(value.As<Napi::String>().Utf8Value());
}

}  // namespace

Napi::Value Addon::memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto use = memory_use(device_argument(info[0]), info[1].ToBoolean());
    auto result = Napi::Object::New(info.Env());
    result.Set("currentBytes", static_cast<double>(use.current));
    result.Set("peakBytes", static_cast<double>(use.peak));
    return Napi::Value(result);
  });
}

Napi::Value Addon::self_test(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto device = device_argument(info[0]);
    return Task<double>::start(
        info.Env(), this, {}, info.Env().Undefined(), [device](const Control&) { return padft::self_test(device); },
        [](Napi::Env env, double& milliseconds) { return Napi::Value(Napi::Number::New(env, milliseconds)); });
  });
}

Napi::Value Addon::create_dataset(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "ERR_OPTION",
            "dataset.images: expected a Uint8Array");
    require(info[1].IsTypedArray() && info[1].As<Napi::TypedArray>().TypedArrayType() == napi_int32_array, "ERR_OPTION",
            "dataset.labels: expected an Int32Array");
    const auto images = info[0].As<Napi::Uint8Array>();
    const auto labels = info[1].As<Napi::Int32Array>();
    const Fields fields(info[2], "dataset.shape");
    constexpr int64_t kMost = int64_t{1} << 31;
    DatasetShape shape;
    shape.count = fields.integer("count", 1, kMost);
    shape.channels = fields.integer("channels", 1, 64);
    shape.height = fields.integer("height", 1, 4096);
    shape.width = fields.integer("width", 1, 4096);
    shape.classes = fields.integer("classes", 1, 1 << 20);
    require(static_cast<int64_t>(labels.ElementLength()) == shape.count, "ERR_DATA", "dataset.labels: expected ",
            shape.count, " labels, one a row, got ", labels.ElementLength());
    require(static_cast<int64_t>(images.ElementLength()) == shape.count * shape.pixels(), "ERR_DATA",
            "dataset.images: expected ", shape.count * shape.pixels(), " bytes, got ", images.ElementLength());
    auto data = std::make_shared<Dataset>(Dataset::from_host(images.Data(), labels.Data(), shape, device_argument(info[3])));
    return Napi::Value(DatasetWrap::make(info.Env(), std::move(data)));
  });
}

Napi::Value Addon::create_model(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[0].IsString(), "ERR_OPTION", "model.name: expected a string");
    const Fields fields(info[1], "model");
    NetworkOptions options;
    options.classes = fields.integer("classes", 2, 1 << 16);
    options.width = fields.integer("width", 1, 4096);
    options.input_channels = fields.integer("inputChannels", 1, 64);
    options.mean = fields.numbers("mean");
    options.std = fields.numbers("std");
    for (const double deviation : options.std) require(deviation > 0, "ERR_OPTION", "model.std: expected numbers > 0");
    options.seed = fields.seed("seed");
    const auto device = to_device(fields.text("device"));
    std::shared_ptr<Network> network = make_network(info[0].As<Napi::String>().Utf8Value(), options, device);
    return Napi::Value(ModelWrap::make(info.Env(), std::move(network)));
  });
}

namespace {

std::optional<Dataset> optional_dataset(const Napi::Value& value, const char* path) {
  if (value.IsNull() || value.IsUndefined()) return std::nullopt;
  return *DatasetWrap::unwrap(value, path).core();
}

at::Tensor optional_floats(const Fields& fields, const char* key) {
  return fields.is_null(key) ? at::Tensor() : to_floats(fields.value(key), fields.path(key));
}

}  // namespace

Napi::Value Addon::create_trainer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& wrap = ModelWrap::unwrap(info[0], "model");
    const Fields fields(info[1], "train");
    TrainerOptions options;
    options.momentum = fields.number("momentum", 0, 1);
    options.weight_decay = fields.number("weightDecay", 0, 1e6);
    auto object = TrainerWrap::make(info.Env(), std::make_shared<Trainer>(wrap.core(), options));
    TrainerWrap::Unwrap(object)->model_slot = wrap.slot();
    return Napi::Value(object);
  });
}

Napi::Value Addon::create_bounds_fitter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& wrap = ModelWrap::unwrap(info[0], "model");
    const Fields fields(info[3], "clip");
    BoundsFitterOptions options;
    options.parameters = static_cast<BoundsFitterOptions::Parameters>(fields.choice("parameters", {"absolute", "fraction"}));
    options.per_layer = fields.choice("granularity", {"per-channel", "per-layer"}) == 1;
    options.max = optional_floats(fields, "max");
    options.mean = optional_floats(fields, "mean");
    options.scale = static_cast<BoundsFitterOptions::Scale>(fields.choice("scale", {"plain", "variance"}));
    options.margin = fields.number("margin", -1e6, 1e6);
    options.seed = fields.seed("seed");
    options.precision = to_precision(fields, wrap.core()->device());
    auto fitter = std::make_shared<BoundsFitter>(wrap.core(), *DatasetWrap::unwrap(info[1], "data").core(),
                                                 optional_dataset(info[2], "suspects"), options);
    auto object = FitterWrap::make(info.Env(), std::move(fitter));
    FitterWrap::Unwrap(object)->model_slot = wrap.slot();
    return Napi::Value(object);
  });
}

Napi::Value Addon::create_classifier_tuner(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& wrap = ModelWrap::unwrap(info[0], "model");
    const Fields fields(info[3], "tune");
    TunerOptions options;
    options.draws = fields.integer("draws", 0, 4096);
    options.jitter = fields.number("jitter", 0, 1);
    options.flip = fields.boolean("flip");
    options.seed = fields.seed("seed");
    options.momentum = fields.number("momentum", 0, 1);
    options.weight_decay = fields.number("weightDecay", 0, 1e6);
    options.alpha = fields.number("alpha", 0, 1);
    options.log_zero = fields.number("logZero", -1e9, 0);
    options.beta = fields.number("beta", 0, 1);
    options.nu = fields.number("nu", 0, 1e12);
    options.margin = fields.number("margin", -1e6, 1e6);
    options.precision = to_precision(fields, wrap.core()->device());
    options.feature_batch_size = fields.integer("featureBatchSize", 1, 1 << 20);
    auto tuner = std::make_shared<ClassifierTuner>(wrap.core(), *DatasetWrap::unwrap(info[1], "data").core(),
                                                   optional_dataset(info[2], "suspects"), options);
    auto object = TunerWrap::make(info.Env(), std::move(tuner));
    TunerWrap::Unwrap(object)->model_slot = wrap.slot();
    return Napi::Value(object);
  });
}

Napi::Value Addon::create_neuron_masker(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& wrap = ModelWrap::unwrap(info[0], "model");
    const Fields fields(info[2], "anp");
    MaskerOptions options;
    options.batch_size = fields.integer("batchSize", 2, 1 << 20);
    options.epsilon = fields.number("epsilon", 0, 1e3);
    options.alpha = fields.number("alpha", 0, 1);
    options.learning_rate = fields.number("learningRate", 0, 1e6);
    options.momentum = fields.number("momentum", 0, 1);
    options.crop_padding = fields.integer("cropPadding", 0, 64);
    options.flip = fields.boolean("flip");
    options.seed = fields.seed("seed");
    options.precision = to_precision(fields, wrap.core()->device());
    auto masker = std::make_shared<NeuronMasker>(wrap.core(), *DatasetWrap::unwrap(info[1], "data").core(), options);
    auto object = MaskerWrap::make(info.Env(), std::move(masker));
    MaskerWrap::Unwrap(object)->model_slot = wrap.slot();
    return Napi::Value(object);
  });
}

Napi::Value Addon::create_contrastive_trainer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& wrap = ModelWrap::unwrap(info[0], "model");
    const Fields fields(info[1], "contrastive");
    ContrastiveOptions options;
    options.projection = fields.integer("projection", 1, 1 << 16);
    options.temperature = fields.number("temperature", 1e-3, 1e3);
    options.momentum = fields.number("momentum", 0, 1);
    options.weight_decay = fields.number("weightDecay", 0, 1e6);
    options.views.smallest_crop = fields.number("smallestCrop", 1e-3, 1);
    options.views.jitter = fields.number("jitter", 0, 1);
    options.views.hue = fields.number("hue", 0, 0.5);
    options.views.jitter_probability = fields.number("jitterProbability", 0, 1);
    options.views.grey_probability = fields.number("greyProbability", 0, 1);
    options.views.flip = fields.boolean("flip");
    options.seed = fields.seed("seed");
    auto object = ContrastiveWrap::make(info.Env(), std::make_shared<ContrastiveTrainer>(wrap.core(), options));
    ContrastiveWrap::Unwrap(object)->model_slot = wrap.slot();
    return Napi::Value(object);
  });
}

Napi::Value Addon::create_mixmatch_trainer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& wrap = ModelWrap::unwrap(info[0], "model");
    auto object = MixMatchWrap::make(info.Env(), std::make_shared<MixMatchTrainer>(wrap.core()));
    MixMatchWrap::Unwrap(object)->model_slot = wrap.slot();
    return Napi::Value(object);
  });
}

void Addon::cancel_all(const Napi::CallbackInfo&) { Worker::instance().cancel_and_wait(this, 10); }

}  // namespace padft::binding

using PadFtAddon = padft::binding::Addon;
NODE_API_NAMED_ADDON(addon, PadFtAddon)
