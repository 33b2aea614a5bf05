#include "addon.h"
#include "task.h"

namespace padft::binding {

Napi::FunctionReference& TrainerWrap::constructor(Napi::Env env) { return addon_of(env).trainer; }

Napi::Function TrainerWrap::define(Napi::Env env) {
  return DefineClass(env, "Trainer",
                     {InstanceMethod<&TrainerWrap::epoch>("epoch"), InstanceMethod<&TrainerWrap::state>("state"),
                      InstanceMethod<&TrainerWrap::load_state>("loadState"),
                      InstanceMethod<&TrainerWrap::dispose>("dispose")});
}

namespace {

WarpRecipe to_recipe(const Fields& fields, const DatasetShape& shape) {
  WarpRecipe recipe;
  recipe.rate = fields.number("rate", 0, 1);
  recipe.cross_ratio = fields.number("crossRatio", 0, 1e6);
  recipe.rotation = fields.number("rotation", 0, 180);
  recipe.target = fields.integer("target", 0, shape.classes - 1);
  recipe.grid = to_grid(fields.value("grid"), fields.path("grid"), shape);
  return recipe;
}

/// The objective; `held` keeps a teacher from being used or freed meanwhile.
Objective to_objective(const Fields& fields, std::vector<Hold>& held) {
  Objective objective;
  objective.label_smoothing = fields.number("labelSmoothing", 0, 1);
  require(objective.label_smoothing < 1, "ERR_OPTION", fields.path("labelSmoothing"),
          ": expected less than 1, at which no label would be read, got ", objective.label_smoothing);
  if (!fields.is_null("ascentBelow")) objective.ascent_below = fields.number("ascentBelow", 0, 1e300);
  objective.radius = fields.number("radius", 0, 1e6);
  objective.attention = fields.numbers("attention");
  require(objective.attention.empty() == fields.is_null("teacher"), "ERR_OPTION", fields.path("attention"),
          ": expected a weight a stage with a teacher, and none without, got ", objective.attention.size(), " and ",
          fields.is_null("teacher") ? "no teacher" : "a teacher");
  for (const double weight : objective.attention) {
    require(weight >= 0, "ERR_OPTION", fields.path("attention"), ": expected numbers ≥ 0, got ", weight);
  }
  if (fields.is_null("teacher")) return objective;
  const auto& teacher = ModelWrap::unwrap(fields.value("teacher"), fields.path("teacher").c_str());
  objective.teacher = teacher.core();
  held.push_back(teacher.hold(true));
  return objective;
}

}  // namespace

Napi::Value TrainerWrap::epoch(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto trainer = core();
    const auto& wrap = DatasetWrap::unwrap(info[0], "data");
    const auto data = wrap.core();
    const Fields fields(info[1], "train");
    EpochOptions options;
    options.batch_size = fields.integer("batchSize", 2, 1 << 20);
    options.drop_last = fields.boolean("dropLast");
    const auto rates = fields.numbers("learningRate");
    require(rates.size() == 2 && rates[0] >= 0 && rates[1] >= 0, "ERR_OPTION",
            "train.learningRate: expected two numbers ≥ 0, the first and the last of the epoch, got ", listed(rates));
    options.learning_rate_start = rates[0];
    options.learning_rate_end = rates[1];
    options.crop_padding = fields.integer("cropPadding", 0, 64);
    options.flip = fields.boolean("flip");
    options.seed = fields.seed("seed");
    options.precision = to_precision(fields, data->device());
    if (!fields.is_null("recipe")) options.recipe = to_recipe(fields.object("recipe"), data->shape());
    auto held = holds();
    held.push_back(wrap.hold(false));
    if (!fields.is_null("objective")) options.objective = to_objective(fields.object("objective"), held);
    return Task<EpochResult>::start(
        info.Env(), &addon_of(info.Env()), std::move(held), info[2],
        [trainer, data, options](const Control& control) { return trainer->epoch(*data, options, control); },
        [](Napi::Env env, EpochResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("loss", result.loss);
          object.Set("correct", static_cast<double>(result.correct));
          object.Set("count", static_cast<double>(result.count));
          object.Set("steps", static_cast<double>(result.steps));
          object.Set("seconds", result.seconds);
          return Napi::Value(object);
        });
  });
}

Napi::Value TrainerWrap::state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto trainer = core();
    return Task<at::Tensor>::start(
        info.Env(), &addon_of(info.Env()), holds(), info.Env().Undefined(),
        [trainer](const Control&) { return trainer->momentum().cpu().clone(); },
        [](Napi::Env env, at::Tensor& momentum) { return from_floats(env, momentum); });
  });
}

Napi::Value TrainerWrap::load_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto trainer = core();
    const auto momentum = to_floats(info[0], "trainer.momentum");
    return Task<Nothing>::start(
        info.Env(), &addon_of(info.Env()), holds(), info.Env().Undefined(),
        [trainer, momentum](const Control&) {
          trainer->set_momentum(momentum);
          return Nothing{};
        },
        to_undefined);
  });
}

}  // namespace padft::binding
