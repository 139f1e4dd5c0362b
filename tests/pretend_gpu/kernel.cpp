// One boxed kernel in the place of every CUDA kernel: it checks devices as CUDA does, runs the operator on CPU tensors over
// the same memory, and reports what makes the host wait. Copies to the host that do not block arrive at the next wait.
// device.py compiles and installs it.
#include <Python.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/distributed/c10d/reducer_timer.hpp>
#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
using namespace c10;
using at::Tensor;
using Stack = torch::jit::Stack;
static const Device GPU(kCUDA, 0);
static PyObject* callback = nullptr;
static std::unordered_set<std::string> strict, waits;  // operators with a full device check; those the host waits for
static const std::unordered_set<std::string> whole{  // what takes whole numbers on a CPU alone
    "aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::mv", "aten::dot", "aten::convolution",
    "aten::upsample_bilinear2d", "aten::_upsample_bilinear2d_aa", "aten::upsample_bicubic2d", "aten::avg_pool2d",
    "aten::_upsample_bicubic2d_aa", "aten::_adaptive_avg_pool2d", "aten::max_pool2d_with_indices", "aten::grid_sampler_2d"};
static void event(const char* kind, const std::string& op) {
  if (!callback || !Py_IsInitialized()) return;
  auto gil = PyGILState_Ensure();
  PyObject *a, *b, *c;
  PyErr_Fetch(&a, &b, &c);
  Py_XDECREF(PyObject_CallFunction(callback, "ss", kind, op.c_str()));
  if (PyErr_Occurred()) PyErr_Print();
  PyErr_Restore(a, b, c);
  PyGILState_Release(gil);
}
struct Guard final : impl::DeviceGuardImplInterface {
  DeviceType type() const override { return kCUDA; }
  Device exchangeDevice(Device) const override { return GPU; }
  Device getDevice() const override { return GPU; }
  void setDevice(Device d) const override { TORCH_CHECK(d.index() <= 0, "CUDA error: invalid device ordinal"); }
  void uncheckedSetDevice(Device) const noexcept override {}
  Stream getStream(Device) const override { return Stream(Stream::DEFAULT, GPU); }
  Stream getDefaultStream(Device) const override { return Stream(Stream::DEFAULT, GPU); }
  Stream getNewStream(Device, int) const override { return Stream(Stream::DEFAULT, GPU); }
  Stream getStreamFromGlobalPool(Device, bool) const override { return Stream(Stream::DEFAULT, GPU); }
  Stream exchangeStream(Stream) const override { return Stream(Stream::DEFAULT, GPU); }
  void record(void**, const Stream&, DeviceIndex, EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(DeviceIndex) const override {}
  void recordDataPtrOnStream(const DataPtr&, const Stream&) const override {}
  void destroyEvent(void*, DeviceIndex) const noexcept override {}
  DeviceIndex deviceCount() const noexcept override { return 1; }
};
struct Hooks final : at::CUDAHooksInterface {  // what ATen asks of a driver
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(DeviceIndex) const override {}
  DeviceIndex getCurrentDevice() const override { return 0; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex exchangeDevice(DeviceIndex) const override { return 0; }
  DeviceIndex maybeExchangeDevice(DeviceIndex) const override { return 0; }
  bool isPinnedPtr(const void*) const override { return false; }
  Allocator* getPinnedMemoryAllocator() const override { return GetCPUAllocator(); }
  Device getDeviceFromPtr(void*) const override { return GPU; }
  int getNumGPUs() const override { return 1; }
  long versionCuDNN() const override { return 91900; }
  long versionRuntimeCuDNN() const override { return 91900; }
  void deviceSynchronize(DeviceIndex) const override {}
};
struct Memory final : Allocator {
  DataPtr allocate(size_t n) override {
    void* p = nullptr;
    TORCH_CHECK(!posix_memalign(&p, 64, n ? n : 64));
    return DataPtr(p, p, &free, GPU);
  }
  DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t n) const override { std::memcpy(to, from, n); }
};
static Memory memory;
static DataPtr owned(Storage s) {  // CPU memory, as the device's
  auto* kept = new Storage(std::move(s));
  return DataPtr(kept->mutable_data(), kept, [](void* c) { delete static_cast<Storage*>(c); }, GPU);
}
static Tensor tensor_of(Storage s, const Tensor& like, DispatchKey key, bool inference) {
  InferenceMode mode(inference);
  auto t = at::detail::make_tensor<TensorImpl>(std::move(s), DispatchKeySet(key), like.dtype());
  t.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  if (like.unsafeGetTensorImpl()->is_wrapped_number()) t.unsafeGetTensorImpl()->set_wrapped_number(true);
  return t;
}
struct Aliases {  // device tensors as CPU tensors over the same memory
  std::unordered_map<StorageImpl*, intrusive_ptr<StorageImpl>> there;
  std::unordered_map<StorageImpl*, std::pair<Storage, bool>> back;
  std::vector<std::pair<Tensor, Tensor>> pairs;
  Tensor get(const Tensor& t) {
    for (auto& [device, cpu] : pairs) if (device.is_same(t)) return cpu;
    auto* key = t.storage().unsafeGetStorageImpl();
    auto& s = there[key];
    if (!s) {
      s = make_intrusive<StorageImpl>(StorageImpl::use_byte_size_t(), t.storage().nbytes(),
          DataPtr(t.storage().mutable_data(), kCPU), GetCPUAllocator(), true);
      back.emplace(s.get(), std::make_pair(t.storage(), t.is_inference()));
    }
    pairs.emplace_back(t, tensor_of(Storage(s), t, DispatchKey::CPU, t.is_inference()));
    return pairs.back().second;
  }
  Tensor result(const Tensor& r) {
    if (!r.defined() || !r.is_cpu()) return r;
    for (auto& [device, cpu] : pairs) if (cpu.is_same(r)) return device;
    auto* key = r.storage().unsafeGetStorageImpl();
    if (!back.count(key))
      back.emplace(key, std::make_pair(Storage(make_intrusive<StorageImpl>(StorageImpl::use_byte_size_t(),
          r.storage().nbytes(), owned(r.storage()), &memory, true)), InferenceMode::is_enabled()));
    return tensor_of(back.at(key).first, r, DispatchKey::CUDA, back.at(key).second);
  }
  void settle() {  // what the operator resized
    for (auto& [device, cpu] : pairs) {
      auto& s = device.storage();
      if (cpu.storage().data() != s.data() || cpu.storage().nbytes() > s.nbytes()) {
        s.set_data_ptr_noswap(owned(cpu.storage()));
        s.set_nbytes(cpu.storage().nbytes());
      }
      if (cpu.sizes() != device.sizes() || cpu.strides() != device.strides())
        device.unsafeGetTensorImpl()->set_sizes_and_strides(cpu.sizes(), cpu.strides(), cpu.storage_offset());
    }
  }
};
// Copies that have not arrived, and host memory that a copy may still be reading.
struct Pending { Tensor target, values; bool to_host; };
static std::deque<Pending> pending;
static std::mutex pending_lock;
static Tensor called(const char* name, std::vector<IValue> args, const char* overload = "") {
  auto op = Dispatcher::singleton().findSchemaOrThrow(name, overload);
  Stack stack(args.begin(), args.end());
  impl::ExcludeDispatchKeyGuard below(autograd_dispatch_keyset_with_ADInplaceOrView);
  op.callBoxed(&stack);
  return stack.back().toTensor();
}
static Tensor cloned(const Tensor& t) { return called("aten::clone", {t, IValue()}); }
static void later_to_host(const Tensor& target, const Tensor& values) {
  const bool small = target.scalar_type() == kBool || target.scalar_type() == kByte;
  called("aten::fill_", {target, isFloatingType(target.scalar_type()) ? IValue(std::nan("")) : IValue(int64_t(
      small ? 1 : -99))}, "Scalar");
  std::lock_guard<std::mutex> lock(pending_lock);
  pending.push_back({target, values, true});
}
extern "C" void pretend_wait() {
  std::lock_guard<std::mutex> lock(pending_lock);
  while (!pending.empty()) {
    auto p = pending.front();
    pending.pop_front();
    if (p.to_host) called("aten::copy_", {p.target, p.values, false});
    else {
      auto now = cloned(p.target);
      if (std::memcmp(now.const_data_ptr(), p.values.const_data_ptr(), now.nbytes()))
        event("host buffer overwritten while copied", "copy_");
    }
  }
}
template <class F> static void each(IValue& v, F f) {  // f(Tensor) -> Tensor, for every tensor of an argument
  if (v.isTensor()) { if (v.toTensor().defined()) v = IValue(f(v.toTensor())); }
  else if (v.isList()) {
    auto list = v.toList();
    if (list.empty() || !(v.isTensorList() || list.get(0).isList() || v.type()->str().find("Tensor") != std::string::npos))
      return;
    list = list.copy();
    for (size_t i = 0; i < list.size(); i++) { IValue e = list.get(i); each(e, f); list.set(i, e); }
    v = IValue(list);
  }
}
static void kernel(const OperatorHandle& op, DispatchKeySet, Stack* stack) {
  const auto& schema = op.schema();
  const auto name = schema.name() + (schema.overload_name().empty() ? "" : "." + schema.overload_name());
  const size_t n = schema.arguments().size(), first = stack->size() - n;
  auto arg = [&](size_t i) -> IValue& { return (*stack)[first + i]; };
  if (schema.name() == "aten::record_stream") { stack->erase(stack->begin() + first, stack->end()); return; }
  if (schema.name() == "aten::set_" && n >= 2 && arg(1).isStorage()) {
    Tensor self = arg(0).toTensor();
    Storage s = arg(1).toStorage();
    self.unsafeGetTensorImpl()->set_storage_keep_dtype(s);
    if (n == 2) {
      std::vector<int64_t> size{int64_t(s.nbytes() / self.dtype().itemsize())}, stride{1};
      self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, 0);
    } else {
      self.unsafeGetTensorImpl()->set_sizes_and_strides(arg(3).toIntVector(), arg(4).toIntVector(), arg(2).toInt());
    }
    stack->erase(stack->begin() + first, stack->end());
    stack->push_back(self);
    return;
  }
  if (name == "aten::_to_copy") {
    Tensor self = arg(0).toTensor();
    const bool from = self.is_cuda(), to = arg(3).isDevice() ? arg(3).toDevice().is_cuda() : from, later = arg(5).toBool();
    if (from != to && !later) { event(to ? "copy to GPU" : "copy to CPU", "to"); pretend_wait(); }
    Aliases aliases;
    Stack inner{from ? aliases.get(self) : self, arg(1), arg(2), IValue(Device(kCPU)), IValue(), false, arg(6)};
    op.callBoxed(&inner);
    Tensor result = inner.back().toTensor();
    if (from && !to && later) {
      auto values = result;
      later_to_host(result = cloned(values), values);
    } else if (!from && to && later) {
      std::lock_guard<std::mutex> lock(pending_lock);
      pending.push_back({self, cloned(self), false});
    }
    stack->erase(stack->begin() + first, stack->end());
    stack->push_back(to ? aliases.result(result) : result);
    return;
  }
  bool device = false;
  std::string on_cpu, scalar_cpu;
  bool on_gpu = false, bools = false, copies = schema.name() == "aten::copy_";
  const bool indexing = schema.name().rfind("aten::index", 0) == 0 || schema.name().rfind("aten::_index_put", 0) == 0 ||
      schema.name().rfind("aten::_unsafe_index", 0) == 0;
  for (size_t i = 0; i < n; i++) {
    if (arg(i).isDevice() && arg(i).toDevice().is_cuda()) { arg(i) = IValue(Device(kCPU)); device = true; continue; }
    const bool index_list = indexing && arg(i).isList();
    if (arg(i).isGenerator() && arg(i).toGenerator().defined())
      TORCH_CHECK(arg(i).toGenerator().device().is_cuda(), "Expected a 'cuda' device type for generator but found 'cpu'");
    each(arg(i), [&](const Tensor& t) {
      if (t.is_cuda()) on_gpu = true;
      else if (index_list) event("index on the CPU", name);
      else (t.dim() == 0 ? scalar_cpu : on_cpu) = schema.arguments()[i].name();
      if (index_list && (t.scalar_type() == kBool || t.scalar_type() == kByte)) bools = true;
      if (whole.count(schema.name()))
        TORCH_CHECK(isFloatingType(t.scalar_type()), '"', name, "\" not implemented for '", toString(t.scalar_type()), "' (on CUDA)");
      if (schema.name().rfind("torchvision::", 0) == 0)
        TORCH_CHECK(t.scalar_type() != kBFloat16, '"', name, "\" not implemented for 'BFloat16'");
      return t;
    });
  }
  if (indexing && n && arg(0).isTensor() && !arg(0).toTensor().is_cuda())
    TORCH_CHECK(false, "indices should be either on cpu or on the same device as the indexed tensor (cpu)");
  if ((on_gpu || device) && !copies) {
    const bool full = strict.count(name) || schema.name().rfind("torchvision::", 0) == 0;
    const auto& bad = !on_cpu.empty() ? on_cpu : full ? scalar_cpu : on_cpu;
    TORCH_CHECK(bad.empty(), "Expected all tensors to be on the same device, but got ", bad,
        " is on cpu, different from other tensors on cuda:0 (pretended, in ", name, ")");
  }
  if (copies) {
    Tensor self = arg(0).toTensor(), source = arg(1).toTensor();
    const bool later = n > 2 && arg(2).isBool() && arg(2).toBool();
    if (self.is_cuda() != source.is_cuda() && self.numel()) {
      if (!later) { event(self.is_cuda() ? "copy to GPU" : "copy to CPU", name); pretend_wait(); }
      else {
        Aliases shadow;
        auto here = source.is_cuda() ? shadow.get(source) : source;
        if (self.is_cuda()) {
          std::lock_guard<std::mutex> lock(pending_lock);
          pending.push_back({source, cloned(source), false});
        } else {
          later_to_host(self, cloned(here));
          stack->erase(stack->begin() + first, stack->end());
          stack->push_back(self);
          return;
        }
      }
    }
  }
  if (bools && schema.name().find("index_put") != std::string::npos) {  // a plain number goes through masked_fill
    Tensor value = arg(2).toTensor();
    if (value.numel() == 1 && !value.is_cuda()) bools = false;
  }
  if (waits.count(name) || bools) { event("wait", name); pretend_wait(); }
  Aliases aliases;
  for (size_t i = 0; i < n; i++)
    each(arg(i), [&](const Tensor& t) { return t.is_cuda() ? aliases.get(t) : t; });
  const Stack before(stack->begin() + first, stack->end());
  impl::ExcludeDispatchKeyGuard below(autograd_dispatch_keyset_with_ADInplaceOrView);
  op.callBoxed(stack);
  aliases.settle();
  for (size_t i = stack->size() - schema.returns().size(); i < stack->size(); i++)
    each((*stack)[i], [&](const Tensor& t) { return aliases.result(t); });
}
struct NoTimer : c10d::Timer {  // of DistributedDataParallel, instead of one of CUDA events
  std::optional<int64_t> measureDifference(Event, Event) override { return std::nullopt; }
};
extern "C" const char* pretend_start(PyObject* f) {
  callback = f;
  impl::registerDeviceGuard(kCUDA, new Guard);
  *(void**)&at::detail::getCUDAHooks() = *(void**)new Hooks;  // its virtual functions instead of the real ones
  c10d::TimerRegistry()->Register(kCUDA, [](Device) { return std::unique_ptr<c10d::Timer>(new NoTimer); },
      REGISTRY_PREFERRED);
  SetAllocator(kCUDA, &memory, 255);
  return "";
}
extern "C" const char* pretend_operator(const char* name, const char* overload, int full, int waiting) {
  static std::string error;
  static std::deque<RegistrationHandleRAII> kept;
  try {
    OperatorName op{name, overload};
    auto key = std::string(name) + (*overload ? std::string(".") + overload : "");
    if (full) strict.insert(key);
    if (waiting) waits.insert(key);
    kept.push_back(Dispatcher::singleton().registerImpl(op, DispatchKey::CUDA,
        KernelFunction::makeFromBoxedFunction<&kernel>(), std::nullopt, nullptr, "pretend_gpu"));
    return "";
  } catch (const std::exception& e) { error = e.what(); return error.c_str(); }
}
