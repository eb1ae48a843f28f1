/*
 * When a device crashes or hangs: what its author reads then.
 *
 * Devices are compiled with the address and undefined behaviour sanitizers, which know the file and
 * the line. What is said here is a sentence after their report. The guest and QEMU live on.
 */
#include <execinfo.h>
#include <ucontext.h>

#include "internal.h"

#undef pthread_create

#define HANG_TICKS 8
#define TICK_US 500000
/* Nothing else sends it; SIGUSR2 asks the program to be exchanged. */
#define HANG_SIGNAL SIGVTALRM

/* The sanitizers' own functions, if the device was compiled with them. */
void __sanitizer_symbolize_pc(void *, const char *, char *, size_t) __attribute__((weak));
void __asan_set_error_report_callback(void (*)(const char *)) __attribute__((weak));
void *__asan_region_is_poisoned(void *, size_t) __attribute__((weak));
void __asan_report_error(void *, void *, void *, void *, int, size_t) __attribute__((weak));

/* Their defaults; ASAN_OPTIONS and UBSAN_OPTIONS change them. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    /* The device lives as long as the process: nothing of it is a leak. */
    return "detect_leaks=0:abort_on_error=1:allow_user_segv_handler=1:handle_sigbus=0:"
           "print_legend=0:fast_unwind_on_fatal=1:malloc_context_size=5";
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=0:abort_on_error=1:halt_on_error=1";
}

/* What a signal handler may call. */
static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        /* Standard error is closed: the status has to do. */
    }
}

/* With a keeper the signal ends the process when its handler returns. */
static void end_with_sentence(int number)
{
    if (is_kept) {
        say("error: the device has stopped, for the reason above\n");
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    say("error: the device has stopped, for the reason above. QEMU and its guest go on without "
        "it. Correct the device, start it again, and attach it anew (in QEMU: device_del, "
        "device_add)\n");
    _exit(1);
}

/* The instruction at which a signal has interrupted its thread. */
static void *interrupted_at(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (void *)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (void *)context->uc_mcontext.pc;
#else
    return NULL;
#endif
}

/* The places in the device's own files that the present thread is at, the innermost first. */
static void say_places(const ucontext_t *context)
{
    void *addresses[64];
    int count = backtrace(addresses, ARRAY_SIZE(addresses));
    for (int i = 0; i < count; i++) {
        char place[512];
        /* Others are where a call returns to, and taken for one less. */
        char *address = (char *)addresses[i] + (addresses[i] == interrupted_at(context));
        __sanitizer_symbolize_pc(address, "  %S: %f()\n", place, sizeof(place));
        if (strstr(place, ".c:") && !strstr(place, "nptl/") && !strstr(place, "sysdeps/")) {
            say(place);
        }
    }
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    switch (number) {
    case SIGSEGV:
        say(info->si_addr < (void *)4096
                ? "error: the device used a null pointer (SIGSEGV)"
                : "error: the device accessed memory that is not there (SIGSEGV)");
        break;
    case SIGFPE:
        say("error: the device divided by zero (SIGFPE)");
        break;
    case SIGILL:
        say("error: the device reached code that cannot be (SIGILL)");
        break;
    case HANG_SIGNAL:
        say("error: the device's callback has not returned for 4 s; a callback never waits: begin "
            "in one, and end in a timer's");
        break;
    default:
        break;
    }
    if (number != SIGABRT && __sanitizer_symbolize_pc) {
        say("; it was here:\n");
        say_places(context);
    } else if (number != SIGABRT) {
        say(". To learn the line, compile it with -fsanitize=address,undefined\n");
    }
    end_with_sentence(number);
}

/* The place and the kind of an error in the address sanitizer's report. */
static void on_asan_report(const char *report)
{
    char kind[64] = "error";
    const char *found = strstr(report, "AddressSanitizer: ");
    if (found) {
        sscanf(found + strlen("AddressSanitizer: "), "%63s", kind);
    }
    for (const char *line = strstr(report, "    #"); line; line = strstr(line + 1, "    #")) {
        char function[128], file[256];
        if (sscanf(line, " #%*d %*s in %127s %255s", function, file) == 2 && strstr(file, ".c:")) {
            fprintf(stderr, "error: %s: %s(): %s: the device accesses memory that is not its own; "
                            "check the bounds of what it indexes or copies\n",
                    file, function, kind);
            return;
        }
    }
    fprintf(stderr, "error: %s: the device accesses memory that is not its own\n", kind);
}

static void catch_signal(int number)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    sigaction(number, &action, NULL);
}

void watch_for_crashes(void)
{
    if (__asan_set_error_report_callback) {
        __asan_set_error_report_callback(on_asan_report);
    } else {
        catch_signal(SIGSEGV);
    }
    catch_signal(SIGFPE);
    catch_signal(SIGILL);
    catch_signal(SIGABRT);
    catch_signal(HANG_SIGNAL);
}

/* Callbacks that have begun; the thread of the one that runs, if any. */
static unsigned callbacks;
static pthread_t thread;
static bool is_running;

void callback_is_watched(bool running)
{
    if (running) {
        thread = pthread_self();
        qatomic_set(&callbacks, callbacks + 1);
    }
    qatomic_store_release(&is_running, running);
}

static void *watch(void *argument)
{
    unsigned last = 0;
    for (int ticks = 0;;) {
        usleep(TICK_US);
        unsigned now = qatomic_read(&callbacks);
        ticks = qatomic_load_acquire(&is_running) && now == last ? ticks + 1 : 0;
        last = now;
        if (ticks == HANG_TICKS) {
            pthread_kill(thread, HANG_SIGNAL);
        }
    }
    return NULL;
}

void watch_callbacks(void)
{
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, watch, NULL) == 0) {
        pthread_setname_np(watcher, "watchdog");
        pthread_detach(watcher);
    }
}

void check_buffer(const void *buffer, size_t length, bool is_written)
{
    void *bad = __asan_region_is_poisoned && length > 0
                    ? __asan_region_is_poisoned((void *)buffer, length)
                    : NULL;
    if (bad) {
        void *frame = __builtin_frame_address(0);
        __asan_report_error(__builtin_return_address(0), frame, frame, bad, is_written, 1);
    }
}
