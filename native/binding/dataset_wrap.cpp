#include <cstring>

#include "addon.h"
#include "core/trigger.h"
#include "task.h"

namespace padft::binding {

Napi::FunctionReference& DatasetWrap::constructor(Napi::Env env) { return addon_of(env).dataset; }

Napi::Function DatasetWrap::define(Napi::Env env) {
  return DefineClass(env, "Dataset",
                     {InstanceAccessor<&DatasetWrap::shape>("shape"), InstanceAccessor<&DatasetWrap::device>("device"),
                      InstanceAccessor<&DatasetWrap::bytes>("bytes"), InstanceMethod<&DatasetWrap::labels>("labels"),
                      InstanceMethod<&DatasetWrap::images>("images"), InstanceMethod<&DatasetWrap::subset>("subset"),
                      InstanceMethod<&DatasetWrap::with_trigger>("withTrigger"),
                      InstanceMethod<&DatasetWrap::with_noise_warp>("withNoiseWarp"),
                      InstanceMethod<&DatasetWrap::dispose>("dispose")});
}

Napi::Value DatasetWrap::shape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto shape = core()->shape();
    auto result = Napi::Object::New(info.Env());
    result.Set("count", static_cast<double>(shape.count));
    result.Set("channels", static_cast<double>(shape.channels));
    result.Set("height", static_cast<double>(shape.height));
    result.Set("width", static_cast<double>(shape.width));
    result.Set("classes", static_cast<double>(shape.classes));
    return Napi::Value(result);
  });
}

Napi::Value DatasetWrap::device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Value(Napi::String::New(info.Env(), core()->device().str())); });
}

Napi::Value DatasetWrap::bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Value(Napi::Number::New(info.Env(), static_cast<double>(core()->bytes()))); });
}

Napi::Value DatasetWrap::labels(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return from_integers(info.Env(), core()->labels()); });
}

Napi::Value DatasetWrap::images(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto pixels = core()->subset(to_rows(info[0], "images.indices")).images().cpu().contiguous();
    auto array = Napi::Uint8Array::New(info.Env(), static_cast<size_t>(pixels.numel()));
    if (pixels.numel() > 0) std::memcpy(array.Data(), pixels.data_ptr<uint8_t>(), array.ByteLength());
    return Napi::Value(array);
  });
}

namespace {

Napi::Value to_handle(Napi::Env env, std::shared_ptr<Dataset>& data) { return DatasetWrap::make(env, std::move(data)); }

std::vector<Hold> one(Hold hold) {
  std::vector<Hold> holds;
  holds.push_back(std::move(hold));
  return holds;
}

Trigger to_trigger(const Napi::Value& value, const DatasetShape& shape) {
  const Fields fields(value, "trigger");
  Trigger trigger;
  trigger.kind = static_cast<Trigger::Kind>(fields.choice("kind", {"replace", "blend", "add", "warp"}));
  if (trigger.kind == Trigger::Kind::warp) {
    trigger.grid = to_grid(fields.value("grid"), fields.path("grid"), shape);
    return trigger;
  }
  const auto image = [&](at::Tensor flat, const char* key) {
    require(flat.numel() == shape.pixels(), "ERR_OPTION", fields.path(key), ": expected ", shape.pixels(),
            " values (channels × height × width), got ", flat.numel());
    return flat.view({shape.channels, shape.height, shape.width});
  };
  const auto bytes = [&](const char* key) { return image(to_bytes(fields.value(key), fields.path(key)), key); };
  if (trigger.kind == Trigger::Kind::replace) trigger.mask = bytes("mask");
  if (trigger.kind == Trigger::Kind::blend) trigger.alpha = fields.number("alpha", 0, 1);
  trigger.pattern = trigger.kind == Trigger::Kind::add
                        ? image(to_floats(fields.value("pattern"), fields.path("pattern")), "pattern")
                        : bytes("pattern");
  return trigger;
}

}  // namespace

Napi::Value DatasetWrap::subset(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto rows = to_rows(info[0], "subset.indices");
    require(!rows.empty(), "ERR_DATA", "subset: expected at least one row index, got none");
    const auto data = core();
    data->check_rows(rows);
    return Task<std::shared_ptr<Dataset>>::start(
        info.Env(), &addon_of(info.Env()), one(hold(false)), info.Env().Undefined(),
        [data, rows](const Control&) { return std::make_shared<Dataset>(data->subset(rows)); }, to_handle);
  });
}

Napi::Value DatasetWrap::with_trigger(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto data = core();
    auto rows = to_rows(info[0], "withTrigger.indices");
    const auto trigger = to_trigger(info[1], data->shape());
    auto labels = to_labels(info[2], "withTrigger.labels");
    return Task<std::shared_ptr<Dataset>>::start(
        info.Env(), &addon_of(info.Env()), one(hold(false)), info.Env().Undefined(),
        [data, rows, trigger, labels](const Control&) {
          return std::make_shared<Dataset>(padft::with_trigger(*data, rows, trigger, labels));
        },
        to_handle);
  });
}

Napi::Value DatasetWrap::with_noise_warp(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto data = core();
    auto rows = to_rows(info[0], "withNoiseWarp.indices");
    const Fields fields(info[1], "withNoiseWarp");
    const auto grid = to_grid(fields.value("grid"), fields.path("grid"), data->shape());
    const auto seed = fields.seed("seed");
    return Task<std::shared_ptr<Dataset>>::start(
        info.Env(), &addon_of(info.Env()), one(hold(false)), info.Env().Undefined(),
        [data, rows, grid, seed](const Control&) {
          return std::make_shared<Dataset>(padft::with_noise_warp(*data, rows, grid, seed));
        },
        to_handle);
  });
}

}  // namespace padft::binding
