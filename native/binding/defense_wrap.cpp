// The two handles of the defence: the bounds fitter (stage 2) and the classifier tuner (stage 3); and the neuron masker
// of a method that it is compared with.
#include "addon.h"
#include "task.h"

namespace padft::binding {

Napi::FunctionReference& FitterWrap::constructor(Napi::Env env) { return addon_of(env).fitter; }

Napi::Function FitterWrap::define(Napi::Env env) {
  return DefineClass(env, "BoundsFitter",
                     {InstanceMethod<&FitterWrap::steps>("steps"), InstanceMethod<&FitterWrap::bounds>("bounds"),
                      InstanceMethod<&FitterWrap::dispose>("dispose")});
}

Napi::Value FitterWrap::steps(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto fitter = core();
    const Fields fields(info[0], "clip");
    FitStepsOptions options;
    options.steps = fields.integer("steps", 1, 1 << 24);
    options.learning_rate = fields.number("learningRate", 0, 1e6);
    options.lambda = fields.number("lambda", 0, 1e12);
    options.mu = fields.number("mu", 0, 1e12);
    options.batch_size = fields.integer("batchSize", 1, 1 << 20);
    options.suspect_batch_size = fields.integer("suspectBatchSize", 1, 1 << 20);
    return Task<FitStepsResult>::start(
        info.Env(), &addon_of(info.Env()), holds(), info[1],
        [fitter, options](const Control& control) { return fitter->steps(options, control); },
        [](Napi::Env env, FitStepsResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("loss", result.loss);
          object.Set("mse", result.mse);
          object.Set("penalty", result.penalty);
          object.Set("suspectLoss", result.suspect_loss);
          object.Set("accuracy", result.accuracy);
          object.Set("suspectsKept", result.suspects_kept);
          object.Set("seconds", result.seconds);
          return Napi::Value(object);
        });
  });
}

Napi::Value FitterWrap::bounds(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Hold held = hold(true);
    return from_bounds(info.Env(), core()->bounds());
  });
}

Napi::FunctionReference& TunerWrap::constructor(Napi::Env env) { return addon_of(env).tuner; }

Napi::Function TunerWrap::define(Napi::Env env) {
  return DefineClass(env, "ClassifierTuner",
                     {InstanceMethod<&TunerWrap::epoch>("epoch"), InstanceMethod<&TunerWrap::dispose>("dispose")});
}

Napi::Value TunerWrap::epoch(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto tuner = core();
    const Fields fields(info[0], "tune");
    TuneEpochOptions options;
    options.learning_rate = fields.number("learningRate", 0, 1e6);
    options.batch_size = fields.integer("batchSize", 1, 1 << 20);
    return Task<TuneEpochResult>::start(
        info.Env(), &addon_of(info.Env()), holds(), info[1],
        [tuner, options](const Control& control) { return tuner->epoch(options, control); },
        [](Napi::Env env, TuneEpochResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("loss", result.loss);
          object.Set("sce", result.sce);
          object.Set("consistency", result.consistency);
          object.Set("suspectLoss", result.suspect_loss);
          object.Set("accuracy", result.accuracy);
          object.Set("seconds", result.seconds);
          return Napi::Value(object);
        });
  });
}

Napi::FunctionReference& MaskerWrap::constructor(Napi::Env env) { return addon_of(env).masker; }

Napi::Function MaskerWrap::define(Napi::Env env) {
  return DefineClass(env, "NeuronMasker",
                     {InstanceMethod<&MaskerWrap::steps>("steps"), InstanceMethod<&MaskerWrap::mask>("mask"),
                      InstanceMethod<&MaskerWrap::dispose>("dispose")});
}

Napi::Value MaskerWrap::steps(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto masker = core();
    const int64_t count = Fields(info[0], "anp").integer("steps", 1, 1 << 24);
    return Task<MaskStepsResult>::start(
        info.Env(), &addon_of(info.Env()), holds(), info[1],
        [masker, count](const Control& control) { return masker->steps(count, control); },
        [](Napi::Env env, MaskStepsResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("loss", result.loss);
          object.Set("robustLoss", result.robust_loss);
          object.Set("seconds", result.seconds);
          return Napi::Value(object);
        });
  });
}

Napi::Value MaskerWrap::mask(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Hold held = hold(true);
    return from_floats(info.Env(), core()->mask().cpu());
  });
}

}  // namespace padft::binding
