// From a JavaScript call to the compute thread and back: two lambdas, one that computes there and one that converts
// on the JavaScript thread. The call returns { promise, cancel(), callbackThrew() }.
#pragma once

#include <napi.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "convert.h"
#include "handle.h"
#include "worker.h"

namespace padft::binding {

template <class Result>
struct Task {
  using Work = std::function<Result(const Control&)>;
  using Finish = std::function<Napi::Value(Napi::Env, Result&)>;

  /// `progress` may be undefined. `holds` are released before the promise settles, so that a caller who awaits it can
  /// use or dispose of the handles at once.
  static Napi::Value start(Napi::Env env, const void* owner, std::vector<Hold> holds, const Napi::Value& progress,
                           Work work, Finish finish) {
    auto state = std::make_shared<State>(Napi::Promise::Deferred::New(env));
    state->holds = std::move(holds);
    state->finish = std::move(finish);
    if (progress.IsFunction()) state->progress = Napi::Persistent(progress.As<Napi::Function>());
    // One message a call of `Deliver`: progress while `final` is false. The context keeps the state alive until the
    // thread-safe function is gone, on the JavaScript thread, where its references may be destroyed.
    auto* context = new std::shared_ptr<State>(state);
    auto deliver = Deliver::New(env, "pad-ft job", 0, 1, context,
                                [](Napi::Env, void*, std::shared_ptr<State>* held) { delete held; });
    auto job = std::make_shared<Job>();
    job->owner = owner;
    auto control = job->control;
    control->on_progress = throttled(deliver);
    state->control = control;
    job->run = [state = std::weak_ptr<State>(state), control, deliver, work = std::move(work)]() mutable {
      auto message = new Message{true, 0, 0, std::nullopt, nullptr};
      try {
        message->result.emplace(work(*control));
      } catch (...) {
        message->error = std::current_exception();
      }
      work = nullptr;
      if (deliver.NonBlockingCall(message) != napi_ok) delete message;
      deliver.Release();
    };
    const auto promise = state->deferred.Promise();
    Worker::instance().submit(job);
    auto result = Napi::Object::New(env);
    result.Set("promise", promise);
    result.Set("cancel", Napi::Function::New(env, [control](const Napi::CallbackInfo&) { control->cancelled = true; }));
    auto threw = std::make_shared<bool>(false);
    state->threw = threw;
    result.Set("callbackThrew", Napi::Function::New(env, [threw](const Napi::CallbackInfo& info) {
                 return Napi::Boolean::New(info.Env(), *threw);
               }));
    return result;
  }

 private:
  struct State {
    explicit State(Napi::Promise::Deferred promise) : deferred(promise) {}
    Napi::Promise::Deferred deferred;
    std::vector<Hold> holds;
    Finish finish;
    Napi::FunctionReference progress;
    std::shared_ptr<Control> control;
    std::shared_ptr<bool> threw;      ///< whether `progress` did
    std::optional<Napi::Error> error;  ///< what it threw first
  };
  struct Message {
    bool final;
    int64_t done, total;
    std::optional<Result> result;
    std::exception_ptr error;
  };

  // Called on the JavaScript thread; `env` is null when the environment is going away.
  static void receive(Napi::Env env, Napi::Function, std::shared_ptr<State>* context, Message* data) {
    const std::unique_ptr<Message> message(data);
    if (env == nullptr || context == nullptr) return;
    const auto state = *context;
    if (!message->final) {
      report(env, *state, *message);
      return;
    }
    state->holds.clear();
    try {
      if (state->error) throw *state->error;
      if (message->error) std::rethrow_exception(message->error);
      state->deferred.Resolve(state->finish(env, *message->result));
    } catch (...) {
      state->deferred.Reject(to_js_error(env, std::current_exception()).Value());
    }
    state->finish = nullptr;
  }

  // Nobody is above this call: what the callback throws ends the job, and its promise rejects with that. The callback is
  // not called again.
  static void report(Napi::Env env, State& state, const Message& message) {
    if (state.progress.IsEmpty()) return;
    try {
      state.progress.Call({Napi::Number::New(env, static_cast<double>(message.done)),
                           Napi::Number::New(env, static_cast<double>(message.total))});
    } catch (const Napi::Error& error) {
      state.error = error;
      *state.threw = true;
      state.control->cancelled = true;
      state.progress.Reset();
    }
  }

  using Deliver = Napi::TypedThreadSafeFunction<std::shared_ptr<State>, Message, receive>;

  // At most some twenty messages a second, and always the last.
  static std::function<void(int64_t, int64_t)> throttled(Deliver deliver) {
    auto last = std::make_shared<std::chrono::steady_clock::time_point>();
    return [deliver, last](int64_t done, int64_t total) mutable {
      const auto now = std::chrono::steady_clock::now();
      if (done < total && now - *last < std::chrono::milliseconds(50)) return;
      *last = now;
      auto* message = new Message{false, done, total, std::nullopt, nullptr};
      if (deliver.NonBlockingCall(message) != napi_ok) delete message;
    };
  }
};

/// For work that returns nothing.
struct Nothing {};
inline Napi::Value to_undefined(Napi::Env env, Nothing&) { return env.Undefined(); }

}  // namespace padft::binding
