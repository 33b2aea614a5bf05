// The two handles that train a network anew without trusting its labels: contrastively, then by MixMatch.
#include "addon.h"
#include "task.h"

namespace padft::binding {

Napi::FunctionReference& ContrastiveWrap::constructor(Napi::Env env) { return addon_of(env).contrastive; }

Napi::Function ContrastiveWrap::define(Napi::Env env) {
  return DefineClass(env, "ContrastiveTrainer",
                     {InstanceMethod<&ContrastiveWrap::epoch>("epoch"),
                      InstanceMethod<&ContrastiveWrap::dispose>("dispose")});
}

Napi::Value ContrastiveWrap::epoch(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto trainer = core();
    const auto& wrap = DatasetWrap::unwrap(info[0], "data");
    const auto data = wrap.core();
    const Fields fields(info[1], "contrastive");
    ContrastiveEpochOptions options;
    options.batch_size = fields.integer("batchSize", 2, 1 << 20);
    options.learning_rate = fields.number("learningRate", 0, 1e6);
    options.seed = fields.seed("seed");
    options.precision = to_precision(fields, data->device());
    auto held = holds();
    held.push_back(wrap.hold(false));
    return Task<ContrastiveEpochResult>::start(
        info.Env(), &addon_of(info.Env()), std::move(held), info[2],
        [trainer, data, options](const Control& control) { return trainer->epoch(*data, options, control); },
        [](Napi::Env env, ContrastiveEpochResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("loss", result.loss);
          object.Set("steps", static_cast<double>(result.steps));
          object.Set("seconds", result.seconds);
          return Napi::Value(object);
        });
  });
}

Napi::FunctionReference& MixMatchWrap::constructor(Napi::Env env) { return addon_of(env).mixmatch; }

Napi::Function MixMatchWrap::define(Napi::Env env) {
  return DefineClass(env, "MixMatchTrainer",
                     {InstanceMethod<&MixMatchWrap::epoch>("epoch"), InstanceMethod<&MixMatchWrap::dispose>("dispose")});
}

Napi::Value MixMatchWrap::epoch(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto trainer = core();
    const auto& wrap = DatasetWrap::unwrap(info[0], "data");
    const auto data = wrap.core();
    const auto labelled = to_rows(info[1], "mixmatch.labelled");
    const Fields fields(info[2], "mixmatch");
    MixMatchOptions options;
    options.steps = fields.integer("steps", 1, 1 << 20);
    options.batch_size = fields.integer("batchSize", 1, 1 << 20);
    options.learning_rate = fields.number("learningRate", 0, 1e6);
    options.sharpening = fields.number("sharpening", 0.01, 1);
    options.mix_alpha = fields.number("mixAlpha", 0.1, 4);
    const auto weights = fields.numbers("unlabelledWeight");
    require(weights.size() == 2 && weights[0] >= 0 && weights[1] >= 0, "ERR_OPTION",
            "mixmatch.unlabelledWeight: expected two numbers ≥ 0, the first and the last of the epoch, got ", listed(weights));
    options.unlabelled_start = weights[0];
    options.unlabelled_end = weights[1];
    options.crop_padding = fields.integer("cropPadding", 0, 64);
    options.flip = fields.boolean("flip");
    options.seed = fields.seed("seed");
    options.precision = to_precision(fields, data->device());
    auto held = holds();
    held.push_back(wrap.hold(false));
    return Task<MixMatchResult>::start(
        info.Env(), &addon_of(info.Env()), std::move(held), info[3],
        [trainer, data, labelled, options](const Control& control) {
          return trainer->epoch(*data, labelled, options, control);
        },
        [](Napi::Env env, MixMatchResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("loss", result.loss);
          object.Set("labelledLoss", result.labelled_loss);
          object.Set("unlabelledLoss", result.unlabelled_loss);
          object.Set("seconds", result.seconds);
          return Napi::Value(object);
        });
  });
}

}  // namespace padft::binding
