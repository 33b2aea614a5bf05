// The addon and its handle classes. Each class: constructor from C++ only, methods that check, start a task and
// convert. No mathematics here.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "core/bounds_fitter.h"
#include "core/classifier_tuner.h"
#include "core/contrastive_trainer.h"
#include "core/dataset.h"
#include "core/mixmatch_trainer.h"
#include "core/neuron_masker.h"
#include "core/trainer.h"
#include "convert.h"
#include "handle.h"
#include "models/network.h"
#include "worker.h"

namespace padft::binding {

/// Runs a synchronous entry and turns every exception into a coded JavaScript error.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    throw to_js_error(env, std::current_exception());
  }
}

class Addon;
Addon& addon_of(Napi::Env env);

/// One tag a class, so that a handle of another kind, or a plain object, is refused and never reinterpreted.
extern const napi_type_tag kDatasetTag, kModelTag, kTrainerTag, kFitterTag, kTunerTag;
extern const napi_type_tag kMaskerTag, kContrastiveTag, kMixMatchTag;

/// Shared by all classes: what is wrapped, its slot, and its disposal.
template <class Self, class Core>
class Wrap : public Napi::ObjectWrap<Self> {
 public:
  explicit Wrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Self>(info) {}

  static Napi::Object make(Napi::Env env, std::shared_ptr<Core> core) {
    auto object = Self::constructor(env).New({});
    napi_type_tag_object(env, object, &Self::tag());
    auto* self = Self::Unwrap(object);
    self->core_ = std::move(core);
    self->slot_ = std::make_shared<Slot>(Self::kind());
    return object;
  }

  /// The wrapped object behind a JavaScript value; ERR_HANDLE when it is something else.
  static Self& unwrap(Napi::Value value, const char* path) {
    bool matches = false;
    if (value.IsObject()) napi_check_object_type_tag(value.Env(), value, &Self::tag(), &matches);
    require(matches, "ERR_HANDLE", path, ": expected a ", Self::kind(), " handle made by this library, got something else");
    return *Self::Unwrap(value.As<Napi::Object>());
  }

  /// What is wrapped; ERR_HANDLE when the object was made by `new`, ERR_DISPOSED after disposal.
  const std::shared_ptr<Core>& core() const {
    require(slot_ != nullptr, "ERR_HANDLE", Self::kind(), ": this handle was not made by the library");
    slot_->check_alive();
    return core_;
  }
  const std::shared_ptr<Slot>& slot() const { return slot_; }
  Hold hold(bool exclusive) const {
    require(slot_ != nullptr, "ERR_HANDLE", Self::kind(), ": this handle was not made by the library");
    return Hold(slot_, exclusive);
  }

  /// Frees what is wrapped, once; ERR_BUSY while a job uses it.
  void free(Napi::Env env) {
    guarded(env, [&] {
      if (slot_ && slot_->dispose()) core_.reset();
    });
  }

 protected:
  std::shared_ptr<Core> core_;
  std::shared_ptr<Slot> slot_;
};

class DatasetWrap final : public Wrap<DatasetWrap, Dataset> {
 public:
  using Wrap::Wrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kDatasetTag; }
  static const char* kind() { return "data set"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value labels(const Napi::CallbackInfo& info);
  Napi::Value images(const Napi::CallbackInfo& info);
  Napi::Value subset(const Napi::CallbackInfo& info);
  Napi::Value with_trigger(const Napi::CallbackInfo& info);
  Napi::Value with_noise_warp(const Napi::CallbackInfo& info);
};

class ModelWrap final : public Wrap<ModelWrap, Network> {
 public:
  using Wrap::Wrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kModelTag; }
  static const char* kind() { return "model"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value name(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value classes(const Napi::CallbackInfo& info);
  Napi::Value width(const Napi::CallbackInfo& info);
  Napi::Value input_channels(const Napi::CallbackInfo& info);
  Napi::Value mean(const Napi::CallbackInfo& info);
  Napi::Value std_deviation(const Napi::CallbackInfo& info);
  Napi::Value parameter_count(const Napi::CallbackInfo& info);
  Napi::Value feature_count(const Napi::CallbackInfo& info);
  Napi::Value sites(const Napi::CallbackInfo& info);
  Napi::Value clone(const Napi::CallbackInfo& info);
  Napi::Value state(const Napi::CallbackInfo& info);
  Napi::Value load_state(const Napi::CallbackInfo& info);
  Napi::Value bounds(const Napi::CallbackInfo& info);
  void set_bounds(const Napi::CallbackInfo& info);
  Napi::Value predict(const Napi::CallbackInfo& info);
  Napi::Value logits(const Napi::CallbackInfo& info);
  Napi::Value features(const Napi::CallbackInfo& info);
  Napi::Value whitened_features(const Napi::CallbackInfo& info);
  Napi::Value score(const Napi::CallbackInfo& info);
  Napi::Value activation_ranges(const Napi::CallbackInfo& info);
  Napi::Value maximum_margins(const Napi::CallbackInfo& info);
  Napi::Value warm_up_classifier(const Napi::CallbackInfo& info);
};

/// Trainers, the fitter, the tuner and the masker work on a model: they keep its slot, so that one job at a time
/// touches it.
template <class Self, class Core>
class WorkerWrap : public Wrap<Self, Core> {
 public:
  using Wrap<Self, Core>::Wrap;
  std::shared_ptr<Slot> model_slot;

  /// One that was never disposed of goes when the collector comes. While a job uses its model the compute thread lets go
  /// of it, after that job.
  ~WorkerWrap() override {
    if (!this->core_ || !model_slot || !model_slot->busy()) return;
    auto job = std::make_shared<Job>();
    job->run = [core = std::move(this->core_)]() mutable { core.reset(); };
    Worker::instance().submit(std::move(job));
  }

  /// Freeing it may touch the model (a trainer ends its training mode), so that must be idle too: ERR_BUSY.
  void free(Napi::Env env) {
    guarded(env, [&] {
      if (!this->slot_ || this->slot_->disposed()) return;
      std::optional<Hold> model;
      if (!model_slot->disposed()) model.emplace(model_slot, true);
      if (this->slot_->dispose()) this->core_.reset();
    });
  }

 protected:
  std::vector<Hold> holds() const {
    std::vector<Hold> held;
    held.push_back(this->hold(true));
    held.emplace_back(model_slot, true);
    return held;
  }
};

class TrainerWrap final : public WorkerWrap<TrainerWrap, Trainer> {
 public:
  using WorkerWrap::WorkerWrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kTrainerTag; }
  static const char* kind() { return "trainer"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value epoch(const Napi::CallbackInfo& info);
  Napi::Value state(const Napi::CallbackInfo& info);
  Napi::Value load_state(const Napi::CallbackInfo& info);
};

class FitterWrap final : public WorkerWrap<FitterWrap, BoundsFitter> {
 public:
  using WorkerWrap::WorkerWrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kFitterTag; }
  static const char* kind() { return "bounds fitter"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value steps(const Napi::CallbackInfo& info);
  Napi::Value bounds(const Napi::CallbackInfo& info);
};

class TunerWrap final : public WorkerWrap<TunerWrap, ClassifierTuner> {
 public:
  using WorkerWrap::WorkerWrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kTunerTag; }
  static const char* kind() { return "classifier tuner"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value epoch(const Napi::CallbackInfo& info);
};

class MaskerWrap final : public WorkerWrap<MaskerWrap, NeuronMasker> {
 public:
  using WorkerWrap::WorkerWrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kMaskerTag; }
  static const char* kind() { return "neuron masker"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value steps(const Napi::CallbackInfo& info);
  Napi::Value mask(const Napi::CallbackInfo& info);
};

class ContrastiveWrap final : public WorkerWrap<ContrastiveWrap, ContrastiveTrainer> {
 public:
  using WorkerWrap::WorkerWrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kContrastiveTag; }
  static const char* kind() { return "contrastive trainer"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value epoch(const Napi::CallbackInfo& info);
};

class MixMatchWrap final : public WorkerWrap<MixMatchWrap, MixMatchTrainer> {
 public:
  using WorkerWrap::WorkerWrap;
  static Napi::FunctionReference& constructor(Napi::Env env);
  static const napi_type_tag& tag() { return kMixMatchTag; }
  static const char* kind() { return "MixMatch trainer"; }
  static Napi::Function define(Napi::Env env);
  void dispose(const Napi::CallbackInfo& info) { free(info.Env()); }

 private:
  Napi::Value epoch(const Napi::CallbackInfo& info);
};

class Addon final : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports);

  Napi::FunctionReference dataset, model, trainer, fitter, tuner;
  Napi::FunctionReference masker, contrastive, mixmatch;

 private:
  Napi::Value runtime(const Napi::CallbackInfo& info);
  Napi::Value models(const Napi::CallbackInfo& info);
  void set_threads(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value self_test(const Napi::CallbackInfo& info);
  Napi::Value create_dataset(const Napi::CallbackInfo& info);
  Napi::Value create_model(const Napi::CallbackInfo& info);
  Napi::Value create_trainer(const Napi::CallbackInfo& info);
  Napi::Value create_bounds_fitter(const Napi::CallbackInfo& info);
  Napi::Value create_classifier_tuner(const Napi::CallbackInfo& info);
  Napi::Value create_neuron_masker(const Napi::CallbackInfo& info);
  Napi::Value create_contrastive_trainer(const Napi::CallbackInfo& info);
  Napi::Value create_mixmatch_trainer(const Napi::CallbackInfo& info);
  void cancel_all(const Napi::CallbackInfo& info);
};

}  // namespace padft::binding
