/* Whether KVM runs the guest, which a device in a process of its own does not know. */
#ifndef SYSTEM_KVM_H
#define SYSTEM_KVM_H

#define kvm_enabled() false
#define kvm_eventfds_enabled() false
#define kvm_irqchip_in_kernel() false

#endif
