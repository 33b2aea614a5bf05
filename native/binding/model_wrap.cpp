#include <cstring>
#include <map>

#include "addon.h"
#include "core/evaluate.h"
#include "core/maximum_margin.h"
#include "core/warm_up.h"
#include "core/whitening.h"
#include "task.h"

namespace padft::binding {

Napi::FunctionReference& ModelWrap::constructor(Napi::Env env) { return addon_of(env).model; }

Napi::Function ModelWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Model",
      {InstanceAccessor<&ModelWrap::name>("name"), InstanceAccessor<&ModelWrap::device>("device"),
       InstanceAccessor<&ModelWrap::classes>("classes"), InstanceAccessor<&ModelWrap::width>("width"),
       InstanceAccessor<&ModelWrap::input_channels>("inputChannels"), InstanceAccessor<&ModelWrap::mean>("mean"),
       InstanceAccessor<&ModelWrap::std_deviation>("std"),
       InstanceAccessor<&ModelWrap::parameter_count>("parameterCount"),
       InstanceAccessor<&ModelWrap::feature_count>("featureCount"), InstanceAccessor<&ModelWrap::sites>("sites"),
       InstanceMethod<&ModelWrap::clone>("clone"), InstanceMethod<&ModelWrap::state>("state"),
       InstanceMethod<&ModelWrap::load_state>("loadState"), InstanceMethod<&ModelWrap::bounds>("bounds"),
       InstanceMethod<&ModelWrap::set_bounds>("setBounds"), InstanceMethod<&ModelWrap::predict>("predict"),
       InstanceMethod<&ModelWrap::logits>("logits"), InstanceMethod<&ModelWrap::features>("features"),
       InstanceMethod<&ModelWrap::whitened_features>("whitenedFeatures"),
       InstanceMethod<&ModelWrap::score>("score"),
       InstanceMethod<&ModelWrap::activation_ranges>("activationRanges"),
       InstanceMethod<&ModelWrap::maximum_margins>("maximumMargins"),
       InstanceMethod<&ModelWrap::warm_up_classifier>("warmUpClassifier"),
       InstanceMethod<&ModelWrap::dispose>("dispose")});
}

namespace {

Napi::Value number(Napi::Env env, int64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

// A model and the data it reads, held for one job.
struct Reading {
  std::shared_ptr<Network> network;
  std::shared_ptr<Dataset> data;
  std::vector<Hold> holds;

  Reading(const ModelWrap& model, const Napi::Value& handle) : network(model.core()) {
    const auto& wrap = DatasetWrap::unwrap(handle, "data");
    data = wrap.core();
    holds.push_back(wrap.hold(false));
    holds.push_back(model.hold(true));
  }
};

}  // namespace

Napi::Value ModelWrap::name(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Value(Napi::String::New(info.Env(), core()->name())); });
}
Napi::Value ModelWrap::device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Value(Napi::String::New(info.Env(), core()->device().str())); });
}
Napi::Value ModelWrap::classes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return number(info.Env(), core()->options().classes); });
}
Napi::Value ModelWrap::width(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return number(info.Env(), core()->options().width); });
}
Napi::Value ModelWrap::input_channels(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return number(info.Env(), core()->options().input_channels); });
}
Napi::Value ModelWrap::mean(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return from_doubles(info.Env(), core()->options().mean); });
}
Napi::Value ModelWrap::std_deviation(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return from_doubles(info.Env(), core()->options().std); });
}
Napi::Value ModelWrap::parameter_count(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return number(info.Env(), core()->parameter_count()); });
}
Napi::Value ModelWrap::feature_count(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return number(info.Env(), core()->feature_count()); });
}

Napi::Value ModelWrap::sites(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& sites = core()->sites();
    auto result = Napi::Array::New(info.Env(), sites.size());
    for (size_t i = 0; i < sites.size(); ++i) {
      auto site = Napi::Object::New(info.Env());
      site.Set("name", sites[i].name);
      site.Set("channels", static_cast<double>(sites[i].channels));
      result.Set(static_cast<uint32_t>(i), site);
    }
    return Napi::Value(result);
  });
}

Napi::Value ModelWrap::clone(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[0].IsString(), "ERR_OPTION", "clone.device: expected a device name");
    const auto device = to_device(info[0].As<Napi::String>().Utf8Value());
    const auto network = core();
    std::vector<Hold> holds;
    holds.push_back(hold(true));
    return Task<std::shared_ptr<Network>>::start(
        info.Env(), &addon_of(info.Env()), std::move(holds), info.Env().Undefined(),
        [network, device](const Control&) {
          at::NoGradGuard no_grad;
          return std::shared_ptr<Network>(network->clone(device));
        },
        [](Napi::Env env, std::shared_ptr<Network>& copy) { return Napi::Value(ModelWrap::make(env, std::move(copy))); });
  });
}

namespace {

struct HostEntry {
  std::string name;
  at::Tensor tensor;  // on the host, contiguous
};

Napi::Value from_state(Napi::Env env, std::vector<HostEntry>& entries) {
  auto result = Napi::Array::New(env, entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto& tensor = entries[i].tensor;
    auto entry = Napi::Object::New(env);
    entry.Set("name", entries[i].name);
    entry.Set("dtype", tensor.scalar_type() == at::kLong ? "I64" : "F32");
    entry.Set("shape", from_doubles(env, {tensor.sizes().begin(), tensor.sizes().end()}));
    auto data = Napi::Uint8Array::New(env, tensor.nbytes());
    std::memcpy(data.Data(), tensor.data_ptr(), tensor.nbytes());
    entry.Set("data", data);
    result.Set(static_cast<uint32_t>(i), entry);
  }
  return result;
}

std::vector<HostEntry> to_state(const Napi::Value& value) {
  require(value.IsArray(), "ERR_OPTION", "loadState.entries: expected an array of entries");
  const auto array = value.As<Napi::Array>();
  std::vector<HostEntry> entries;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Fields fields(array[i], concat("state[", i, "]"));
    const auto name = fields.text("name");
    const bool integers = fields.choice("dtype", {"F32", "I64"}) == 1;
    std::vector<int64_t> shape;
    int64_t count = 1;
    for (const double size : fields.numbers("shape")) {
      shape.push_back(static_cast<int64_t>(size));
      count *= shape.back();
    }
    const auto bytes = to_bytes(fields.value("data"), fields.path("data"));
    require(bytes.numel() == count * (integers ? 8 : 4), "ERR_MODEL", "tensor \"", name, "\": expected ",
            count * (integers ? 8 : 4), " bytes for its shape, got ", bytes.numel());
    auto tensor = at::empty(shape, integers ? at::kLong : at::kFloat);
    if (bytes.numel() > 0) std::memcpy(tensor.data_ptr(), bytes.data_ptr<uint8_t>(), bytes.nbytes());
    entries.push_back({name, tensor});
  }
  return entries;
}

// All or nothing: every name and shape is checked before the first byte is written.
void load_checked(Network& network, const std::vector<HostEntry>& entries) {
  std::map<std::string, at::Tensor> given;
  for (const auto& entry : entries) {
    require(given.emplace(entry.name, entry.tensor).second, "ERR_MODEL", "tensor \"", entry.name, "\" is given twice");
  }
  std::string problems;
  const auto note = [&](const std::string& text) { problems += (problems.empty() ? "" : "; ") + text; };
  for (const auto& own : network.state()) {
    const auto found = given.find(own.name);
    if (found == given.end()) {
      note("missing " + own.name);
    } else {
      if (found->second.sizes() != own.tensor.sizes()) {
        note(concat(own.name, ": expected shape ", own.tensor.sizes(), ", got ", found->second.sizes()));
      } else if (found->second.scalar_type() != own.tensor.scalar_type()) {
        note(concat(own.name, ": expected ", own.tensor.scalar_type() == at::kLong ? "I64" : "F32"));
      }
    }
  }
  for (const auto& [name, tensor] : given) {
    bool known = false;
    for (const auto& own : network.state()) known |= own.name == name;
    if (!known) note("unexpected " + name);
  }
  require(problems.empty(), "ERR_MODEL", "the state does not fit ", network.name(), " of width ",
          network.options().width, " with ", network.options().classes, " classes: ", problems);
  at::NoGradGuard no_grad;
  for (const auto& own : network.state()) {
    auto target = own.tensor;
    target.copy_(given.at(own.name));
  }
  network.state_changed();
}

}  // namespace

Napi::Value ModelWrap::state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto network = core();
    std::vector<Hold> holds;
    holds.push_back(hold(true));
    return Task<std::vector<HostEntry>>::start(
        info.Env(), &addon_of(info.Env()), std::move(holds), info.Env().Undefined(),
        [network](const Control&) {
          at::NoGradGuard no_grad;
          std::vector<HostEntry> entries;
          for (const auto& entry : network->state()) {
            entries.push_back({entry.name, entry.tensor.detach().cpu().contiguous(at::MemoryFormat::Contiguous).clone(at::MemoryFormat::Contiguous)});
          }
          return entries;
        },
        from_state);
  });
}

Napi::Value ModelWrap::load_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto network = core();
    auto entries = to_state(info[0]);
    std::vector<Hold> holds;
    holds.push_back(hold(true));
    return Task<Nothing>::start(
        info.Env(), &addon_of(info.Env()), std::move(holds), info.Env().Undefined(),
        [network, entries = std::move(entries)](const Control&) {
          load_checked(*network, entries);
          return Nothing{};
        },
        to_undefined);
  });
}

Napi::Value ModelWrap::bounds(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Hold held = hold(true);
    return from_bounds(info.Env(), core()->bounds);
  });
}

void ModelWrap::set_bounds(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Hold held = hold(true);
    const Fields fields(info[0], "bounds");
    const auto read = [&](const char* key) {
      if (fields.is_null(key)) return at::Tensor();
      const auto values = to_floats(fields.value(key), fields.path(key));
      require(values.numel() == core()->site_channels(), "ERR_OPTION", fields.path(key), ": expected ",
              core()->site_channels(), " values, one a channel of each clip site, got ", values.numel());
      require(values.ge(0).all().item<bool>(), "ERR_OPTION", fields.path(key), ": expected bounds ≥ 0");
      return values.to(core()->device());
    };
    const BoundSet bounds{read("max"), read("mean")};
    core()->bounds = bounds;
  });
}

namespace {

using Evaluation = at::Tensor (*)(Network&, const Dataset&, const EvalOptions&, const Control&);

Napi::Value evaluate(const ModelWrap& model, const Napi::CallbackInfo& info, Evaluation evaluation,
                     Napi::Value (*convert)(Napi::Env, const at::Tensor&)) {
  return guarded(info.Env(), [&] {
    Reading reading(model, info[0]);
    const auto options = to_eval_options(Fields(info[1], "evaluation"), reading.network->device());
    return Task<at::Tensor>::start(
        info.Env(), &addon_of(info.Env()), std::move(reading.holds), info[2],
        [network = reading.network, data = reading.data, options, evaluation](const Control& control) {
          return evaluation(*network, *data, options, control);
        },
        [convert](Napi::Env env, at::Tensor& result) { return convert(env, result); });
  });
}

}  // namespace

Napi::Value ModelWrap::predict(const Napi::CallbackInfo& info) {
  return evaluate(*this, info, padft::predict, from_integers);
}
Napi::Value ModelWrap::logits(const Napi::CallbackInfo& info) {
  return evaluate(*this, info, evaluate_logits, from_floats);
}
Napi::Value ModelWrap::features(const Napi::CallbackInfo& info) {
  return evaluate(*this, info, evaluate_features, from_floats);
}
Napi::Value ModelWrap::whitened_features(const Napi::CallbackInfo& info) {
  return evaluate(*this, info, evaluate_whitened_features, from_floats);
}

Napi::Value ModelWrap::score(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Reading reading(*this, info[0]);
    const Fields fields(info[1], "score");
    ScoreOptions options;
    static_cast<EvalOptions&>(options) = to_eval_options(fields, reading.network->device());
    options.alpha = fields.number("alpha", 0, 1);
    options.log_zero = fields.number("logZero", -1e9, 0);
    if (!fields.is_null("limits")) {
      const auto limits = fields.object("limits");
      options.limit_statistic = static_cast<Statistic>(limits.choice("statistic", {"mean", "max"}));
      const auto values = to_floats(limits.value("values"), limits.path("values"));
      const int64_t channels = reading.network->site_channels();
      require(values.numel() == channels * reading.data->classes(), "ERR_OPTION", limits.path("values"), ": expected ",
              reading.data->classes(), " labels × ", channels, " channels, got ", values.numel(), " values");
      options.limits = values.view({reading.data->classes(), channels});
    }
    return Task<Scores>::start(
        info.Env(), &addon_of(info.Env()), std::move(reading.holds), info[2],
        [network = reading.network, data = reading.data, options](const Control& control) {
          return padft::score(*network, *data, options, control);
        },
        [](Napi::Env env, Scores& scores) {
          auto result = Napi::Object::New(env);
          result.Set("sce", from_floats(env, scores.sce));
          result.Set("logOdds", from_floats(env, scores.log_odds));
          result.Set("predicted", from_integers(env, scores.predicted));
          result.Set("alternative", from_integers(env, scores.alternative));
          return Napi::Value(result);
        });
  });
}

Napi::Value ModelWrap::activation_ranges(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Reading reading(*this, info[0]);
    const Fields fields(info[1], "ranges");
    RangeOptions options;
    static_cast<EvalOptions&>(options) = to_eval_options(fields, reading.network->device());
    options.statistic = static_cast<Statistic>(fields.choice("statistic", {"mean", "max"}));
    options.quantile = fields.is_null("quantile") ? std::nullopt : std::optional(fields.number("quantile", 0, 1));
    options.leave_one_label_out = fields.boolean("leaveOneLabelOut");
    return Task<at::Tensor>::start(
        info.Env(), &addon_of(info.Env()), std::move(reading.holds), info[2],
        [network = reading.network, data = reading.data, options](const Control& control) {
          return padft::activation_ranges(*network, *data, options, control);
        },
        [](Napi::Env env, at::Tensor& ranges) { return from_floats(env, ranges); });
  });
}

Napi::Value ModelWrap::maximum_margins(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Fields fields(info[0], "inspect");
    const auto network = core();
    MarginOptions options;
    options.images = fields.integer("images", 1, 1 << 16);
    options.height = fields.integer("height", 1, 1 << 12);
    options.width = fields.integer("width", 1, 1 << 12);
    options.steps = fields.integer("steps", 1, 1 << 20);
    options.learning_rate = fields.number("learningRate", 0, 1e6);
    options.tolerance = fields.number("tolerance", 0, 1);
    options.seed = fields.seed("seed");
    options.precision = to_precision(fields, network->device());
    std::vector<Hold> holds;
    holds.push_back(hold(true));
    return Task<MaximumMargins>::start(
        info.Env(), &addon_of(info.Env()), std::move(holds), info[1],
        [network, options](const Control& control) { return padft::maximum_margins(*network, options, control); },
        [](Napi::Env env, MaximumMargins& found) {
          auto result = Napi::Object::New(env);
          const auto* margins = found.margins.data_ptr<double>();
          result.Set("margins", from_doubles(env, {margins, margins + found.margins.numel()}));
          result.Set("steps", from_integers(env, found.steps));
          return Napi::Value(result);
        });
  });
}

Napi::Value ModelWrap::warm_up_classifier(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Reading reading(*this, info[0]);
    const Fields fields(info[1], "warmUp");
    WarmUpOptions options;
    options.epochs = fields.integer("epochs", 1, 1 << 20);
    options.batch_size = fields.integer("batchSize", 1, 1 << 20);
    options.learning_rate = fields.number("learningRate", 0, 1e6);
    options.alpha = fields.number("alpha", 0, 1e6);
    options.log_zero = fields.number("logZero", -1e9, 0);
    options.seed = fields.seed("seed");
    options.precision = to_precision(fields, reading.network->device());
    options.feature_batch_size = fields.integer("featureBatchSize", 1, 1 << 20);
    return Task<WarmUpResult>::start(
        info.Env(), &addon_of(info.Env()), std::move(reading.holds), info[2],
        [network = reading.network, data = reading.data, options](const Control& control) {
          return padft::warm_up_classifier(*network, *data, options, control);
        },
        [](Napi::Env env, WarmUpResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("loss", result.loss);
          object.Set("accuracy", result.accuracy);
          object.Set("seconds", result.seconds);
          return Napi::Value(object);
        });
  });
}

}  // namespace padft::binding
